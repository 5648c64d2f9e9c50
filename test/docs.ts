/**
 * `npm run docs`: writes the generated parts of the documentation, between markers such as
 * `<!-- generated:cli -->` and `<!-- /generated:cli -->`. With `--check` it writes nothing and fails on a difference.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commands } from '../agent/cli/commands.ts'
import { cliReference, errorReference, exitCodeReference } from '../agent/cli/reference.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const pages: readonly { readonly file: string; readonly parts: Readonly<Record<string, () => string>> }[] = [
  { file: 'README.md', parts: { cli: () => cliReference(commands), 'exit-codes': exitCodeReference } },
  { file: 'shared/ERRORS.md', parts: { errors: errorReference } },
]

/** The page with its generated parts as they should be. @throws Error when a marker is missing */
const render = (file: string, text: string, parts: Readonly<Record<string, () => string>>): string => {
  let page = text
  for (const [name, write] of Object.entries(parts)) {
    const [open, close] = [`<!-- generated:${name} -->`, `<!-- /generated:${name} -->`]
    const [start, end] = [page.indexOf(open), page.indexOf(close)]
    if (start < 0 || end < start) throw new Error(`${file} lacks ${open} ... ${close}`)
    page = `${page.slice(0, start + open.length)}\n${write()}\n${page.slice(end)}`
  }
  return page
}

const main = (args: readonly string[]): number => {
  let stale = 0
  for (const { file, parts } of pages) {
    const path = join(root, file)
    const before = readFileSync(path, 'utf8')
    const after = render(file, before, parts)
    if (before === after) continue
    if (!args.includes('--check')) writeFileSync(path, after)
    process.stdout.write(args.includes('--check') ? `${file} is not what the tables say: npm run docs\n` : `wrote ${file}\n`)
    stale++
  }
  return args.includes('--check') && stale > 0 ? 1 : 0
}

process.exitCode = main(process.argv.slice(2))
