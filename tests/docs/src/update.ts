/** Writes what the guides include: `npm run -w @vmkit-tests/docs update`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pages, ROOT, upToDate } from './pages.js'

for (const path of pages()) {
  const before = readFileSync(join(ROOT, path), 'utf8')
  const after = upToDate(before)
  if (after === before) continue
  writeFileSync(join(ROOT, path), after)
  console.log(`wrote ${path}`)
}
