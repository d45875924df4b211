/**
 * Checks folders with TypeScript 6, each as `tsc -p <folder>` does: a program of its own, with its own options. The texts that many
 * share, such as the standard library, are read once. Ends with how many folders failed.
 */
import { join } from 'node:path'
import ts from 'typescript'
import { ROOT } from './lib/run.js'
import { typedFolders } from './lib/workspaces.js'

const texts = new Map<string, ts.SourceFile | undefined>()
const format: ts.FormatDiagnosticsHost = {
  getCanonicalFileName: (name) => name,
  getCurrentDirectory: () => ROOT,
  getNewLine: () => '\n',
}

const failed = typedFolders().filter((folder) => {
  const started = performance.now()
  const found = problemsOf(folder)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${found.length === 0 ? 'ok' : 'FAILED'} ${folder} (${seconds} s)`)
  if (found.length > 0) console.log(ts.formatDiagnostics(found, format))
  return found.length > 0
})
process.exitCode = failed.length

function problemsOf(folder: string): readonly ts.Diagnostic[] {
  const file = join(ROOT, folder, 'tsconfig.json')
  const stopped: ts.Diagnostic[] = []
  const config = ts.getParsedCommandLineOfConfigFile(
    file,
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: (each) => stopped.push(each) },
  )
  if (!config) return stopped
  const { fileNames: rootNames, options, projectReferences, errors } = config
  const program = ts.createProgram({ rootNames, options, projectReferences, configFileParsingDiagnostics: errors, host: hostFor(options) })
  return ts.getPreEmitDiagnostics(program)
}

/** A file that is parsed for the same version and module format, and bound under the same options, is the same for every program. */
function hostFor(options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options)
  const { configFilePath: _, ...shared } = options
  const own = JSON.stringify(shared)
  return {
    ...host,
    getSourceFile(name, how, onError, isNew) {
      const { languageVersion, impliedNodeFormat, jsDocParsingMode } = typeof how === 'object' ? how : { languageVersion: how }
      const key = [name, languageVersion, impliedNodeFormat, jsDocParsingMode, own].join('\n')
      if (!texts.has(key) || isNew) texts.set(key, host.getSourceFile(name, how, onError, isNew))
      return texts.get(key)
    },
  }
}
