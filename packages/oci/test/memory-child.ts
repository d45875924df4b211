/** Prints by how many MiB the resident memory has grown at most since the start, after each step. */
import { randomFillSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { imageFromFolder, openArchive, openRegistry, pushImage, unpackImage, writeArchive } from '../src/index.js'

const SIZE = 200_000_000
const work = mkdtempSync(join(tmpdir(), 'vmkit-oci-memory-'))
const reference = process.argv[2] as string
const grown: Record<string, number> = {}
const before = process.memoryUsage.rss()
let most = before
const look = () => {
  most = Math.max(most, process.memoryUsage.rss())
}
const timer = setInterval(look, 5)

async function measure(step: string, run: () => Promise<unknown>): Promise<void> {
  await run()
  look()
  grown[step] = Math.round((most - before) / 2 ** 20)
}

try {
  for (const folder of ['random', 'zeros']) mkdirSync(join(work, folder))
  const file = openSync(join(work, 'random/file'), 'w')
  const block = Buffer.alloc(2 ** 20)
  for (let size = 0; size < SIZE; size += block.length) writeSync(file, randomFillSync(block))
  writeFileSync(join(work, 'zeros/file'), '')
  truncateSync(join(work, 'zeros/file'), SIZE)
  await using image = await imageFromFolder(join(work, 'random'), { reference, ownership: 'root' })
  await measure('archive', async () => (await openArchive(writeArchive(image))).close())
  await measure('push', () => pushImage(image, reference))
  await measure('pull and unpack', async () => {
    await using pulled = await openRegistry(reference)
    await unpackImage(pulled, join(work, 'pulled'), { ownership: 'record' })
  })
  await measure('gzip and unpack', async () => {
    await using packed = await imageFromFolder(join(work, 'zeros'), { compression: 'gzip', ownership: 'root' })
    await unpackImage(packed, join(work, 'unpacked'), { ownership: 'record' })
  })
  console.log(JSON.stringify(grown))
} finally {
  clearInterval(timer)
  rmSync(work, { recursive: true, force: true })
}
