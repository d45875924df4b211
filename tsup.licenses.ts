import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Options } from 'tsup'

type Plugin = NonNullable<Options['esbuildPlugins']>[number]

const FILE = 'THIRD-PARTY-LICENSES'

/** Whoever bundles the code of others ships their licenses beside it. */
export const licenses: Plugin = {
  name: 'licenses of what is bundled',
  setup({ initialOptions, onEnd }) {
    initialOptions.metafile = true
    onEnd(async ({ metafile }) => {
      const folders = Object.keys(metafile?.inputs ?? {}).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? [])
      const texts = await Promise.all([...new Set(folders)].sort().map((folder) => describe(resolve(folder))))
      const { outdir } = initialOptions
      if (texts.length === 0 || outdir === undefined) return
      await mkdir(outdir, { recursive: true })
      await writeFile(join(outdir, FILE), texts.join(`\n${'-'.repeat(80)}\n\n`))
    })
  },
}

async function describe(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Record<string, string>
  const files = (await readdir(folder)).filter((file) => /^(licen[cs]e|notice)/i.test(file)).sort()
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
  return [`${name} ${version} (${license})\n`, ...texts].join('\n')
}
