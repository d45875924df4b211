export interface ToolResult {
  /** `null` after a signal. */
  code: number | null
  stdout: string
  stderr: string
}

const MOST_OUTPUT = 2 ** 20

/**
 * Runs a program of this host to its end; an abort kills it. A program that is not there rejects with `ENOENT`. What Node needs for
 * it is loaded with the first: many programs run none.
 */
export async function runTool(
  file: string,
  args: readonly string[],
  options: { input?: string; env?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<ToolResult> {
  const { spawn } = await import('node:child_process')
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: options.env ?? cleanEnvironment(),
      signal: options.signal,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < MOST_OUTPUT) stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < MOST_OUTPUT) stderr += text
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
    // A program that does not read its input is no error; its exit tells.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

function cleanEnvironment(): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }
}

/** Like `runTool`, and a failure is an error with the program's own words. */
export async function runChecked(file: string, args: readonly string[], signal?: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await runTool(file, args, signal ? { signal } : {})
  if (code !== 0) throw new Error(`${file} ${args[0] ?? ''} failed: ${stderr.trim() || `exit ${code}`}`)
  return stdout
}

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
