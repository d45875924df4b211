import type { CallContext } from '@vmkit/core/driver'
import { abortReason, engineError, transportError } from './errors.js'
import type { ProgressLine } from './wire.js'

/** Newline-separated JSON, cut anywhere. A half document at the end is an error: the stream broke off. */
export async function* jsonLines<T>(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) if (part.trim() !== '') yield JSON.parse(part) as T
  }
  rest += decoder.decode()
  if (rest.trim() !== '') yield JSON.parse(rest) as T
}

/**
 * Reads the stream of a pull, load or build to its end, and tells `ctx` of it.
 * @throws VMKitError for an error inside the stream, which the engine sends after a 200
 */
export async function followProgress(
  answer: AsyncIterable<Uint8Array>,
  phase: string,
  target: string,
  ctx: CallContext,
): Promise<ProgressLine[]> {
  const lines: ProgressLine[] = []
  try {
    for await (const line of jsonLines<ProgressLine>(answer)) {
      const failure = line.errorDetail?.message ?? line.error
      if (failure !== undefined) throw engineError(line.errorDetail?.code, failure, { operation: phase })
      if (line.progressDetail?.current === undefined) lines.push(line)
      report(line, phase, ctx)
    }
  } catch (error) {
    throw transportError(error, target, ctx.signal)
  }
  if (ctx.signal.aborted) throw abortReason(ctx.signal)
  return lines
}

function report({ id, status, stream, progressDetail }: ProgressLine, fallback: string, ctx: CallContext): void {
  const message = (status ?? stream ?? '').trim()
  if (message === '') return
  const current = progressDetail?.current
  ctx.report({
    phase: phaseOf(message) ?? fallback,
    message,
    ...(id === undefined ? {} : { item: id }),
    ...(current === undefined ? {} : { current, total: progressDetail?.total ?? null, unit: 'bytes' as const }),
  })
}

/** The steps of a layer, as the engine words them. */
function phaseOf(status: string): string | undefined {
  if (/^(downloading|download complete|pulling fs layer|waiting)/i.test(status)) return 'download'
  if (/^verifying/i.test(status)) return 'verify'
  if (/^(extracting|pull complete|already exists)/i.test(status)) return 'extract'
  return undefined
}
