/**
 * `npm run docs`: writes the generated parts of the documentation, between markers such as
 * `<!-- generated:cli -->` and `<!-- /generated:cli -->`, and whole folders that hold nothing else. With `--check` it
 * writes nothing and fails on a difference.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { allCommands } from '../agent/cli/commands.ts'
import { jsonPages } from '../agent/cli/json-reference.ts'
import { packageTable, readPackages, scriptTable } from './support/packages.ts'
import { budgetTable, limitTable, routeTable } from './support/bounds.ts'
import { familyTable } from '../agent/model/architecture/family-table.ts'
import { cliReference, errorReference, exitCodeReference } from '../agent/cli/reference.ts'

const commands = await allCommands()

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const pages: readonly { readonly file: string; readonly parts: Readonly<Record<string, () => string>> }[] = [
  { file: 'docs/models.md', parts: { families: familyTable } },
  { file: 'docs/cli.md', parts: { cli: () => cliReference(commands) } },
  {
    file: 'docs/packages.md',
    parts: { scripts: scriptTable, packages: () => packageTable(readPackages(join(root, 'package-lock.json'))) },
  },
  { file: 'SECURITY.md', parts: { limits: limitTable, budgets: budgetTable, routes: routeTable } },
  { file: 'shared/ERRORS.md', parts: { 'exit-codes': exitCodeReference, errors: errorReference } },
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

/** Files that are as they should be or not, by path; `undefined`: it should not be there. */
const wanted = (): ReadonlyMap<string, string | undefined> => {
  const files = new Map<string, string | undefined>()
  for (const { file, parts } of pages) files.set(file, render(file, readFileSync(join(root, file), 'utf8'), parts))
  const folder = join('docs', 'json')
  for (const name of existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : [])
    files.set(join(folder, name), undefined)
  for (const [name, text] of jsonPages(commands)) files.set(join(folder, name), text)
  return files
}

const main = (args: readonly string[]): number => {
  const isCheck = args.includes('--check')
  let stale = 0
  for (const [file, text] of wanted()) {
    const path = join(root, file)
    if (text === (existsSync(path) ? readFileSync(path, 'utf8') : undefined)) continue
    stale++
    if (isCheck) process.stdout.write(`${file} is not what the tables say: npm run docs\n`)
    else if (text === undefined) rmSync(path)
    else {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }
    if (!isCheck) process.stdout.write(`${text === undefined ? 'removed' : 'wrote'} ${file}\n`)
  }
  return isCheck && stale > 0 ? 1 : 0
}

process.exitCode = main(process.argv.slice(2))
