/** What Mesh tells people to type exists: every command and option that a hint, a help text or a page names. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { errorTable, fill, lookFor } from '../../shared/errors.ts'
import { type OptionName, optionRecord, optionTable } from '../../shared/options.ts'
import type { Command } from './command.ts'
import { allCommands } from './commands.ts'

const commands = await allCommands()

const root = fileURLToPath(new URL('../..', import.meta.url))
const allFlags = new Set([
  '--help',
  '--version',
  ...Object.keys(optionTable).map((name) => optionRecord(name as OptionName).flag),
])

/** `mesh pool-join --invite LINE` in a text: the command, and what stands behind it up to the end of the clause. */
interface Mention {
  readonly text: string
  readonly name: string
  readonly rest: string
}

/** Text that a person types ends where punctuation or a quote of the source begins, and where the next command does. */
const mentionsIn = (text: string): Mention[] => {
  const found = text.matchAll(/(?<![\w./-]|full )mesh ([a-z][a-z-]*)((?: (?!mesh )(?:"[^"]*"|[^\s"'`;,()|<>]+))*)/g)
  return [...found].map(([whole, name, rest]) => ({ text: whole, name, rest: rest.replace(/[.:](?: .*)?$/, '') }))
}

const flagsIn = (text: string): string[] => [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([flag]) => flag)

const flagsOf = (command: Command): Set<string> =>
  new Set(['--help', ...command.options.map((name) => optionRecord(name).flag)])

/** Why a mention cannot be typed; `undefined` when it can. `ledger verify` may be written in two words. */
const problemOf = ({ name, rest }: Mention): string | undefined => {
  const two = `${name}-${rest.trim().split(' ')[0]}`
  const command = commands.find((one) => one.name === two) ?? commands.find((one) => one.name === name)
  if (command === undefined) return name === 'help' ? undefined : `there is no command ${name}`
  const unknown = flagsIn(rest).filter((flag) => !flagsOf(command).has(flag))
  return unknown.length === 0 ? undefined : `${command.name} has no ${unknown.join(', ')}`
}

/**
 * Options without which the command is refused, and which are not named here. A lone word may be the bare one. A
 * sentence may speak of a command, too: `the file that mesh pool-export-key wrote`.
 */
const missingIn = ({ name, rest }: Mention): string[] => {
  const command = commands.find((one) => one.name === name)
  if (command === undefined || rest.includes('--help') || /^ [a-z]/.test(rest)) return []
  const hasBare = command.bare !== undefined && /^ [A-Z{]/.test(rest)
  const wanted = command.required
    .filter((option) => !(hasBare && option === command.bare))
    .map((option) => optionRecord(option).flag)
  return wanted.filter((flag) => !flagsIn(rest).includes(flag))
}

const hints = [
  ...Object.entries(errorTable).map(([code, { text, hint }]) => ({ code, texts: [fill(text, {}), fill(hint, {})] })),
  ...Object.entries(lookFor).map(([what, hint]) => ({ code: `notFound of ${what}`, texts: [hint] })),
]

describe('hints', () => {
  it('name commands that exist, with options that they have', () => {
    for (const { code, texts } of hints) {
      for (const mention of texts.flatMap(mentionsIn))
        assert.equal(problemOf(mention), undefined, `${code}: ${mention.text}`)
      for (const flag of texts.flatMap(flagsIn))
        assert.ok(allFlags.has(flag) || ['--local-dir'].includes(flag), `${code}: there is no option ${flag}`)
    }
  })

  it('name commands with all that they need, or to look at what they show', () => {
    for (const { code, texts } of hints) {
      for (const mention of texts.flatMap(mentionsIn))
        assert.deepEqual(missingIn(mention), [], `${code}: ${mention.text}`)
    }
  })

  it('of an error that has a way out do not lead to another command than the one that was typed', () => {
    for (const code of ['usage', 'requestInvalid', 'parameterInvalid'] as const)
      assert.match(errorTable[code].hint, /^\{help\|/)
  })

  it('nowhere in help, messages and pages a command or option is named that does not exist', () => {
    const folders = ['agent', 'control-plane', 'relay-server', 'shared', 'bench']
    const files = folders.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
    )
    const texts = [
      ...files.filter((file) => /\.(?:ts|md|html|js)$/.test(file) && !file.endsWith('.test.ts')),
      'README.md',
      'INSIGHT.md',
      join('docs', 'guide.md'),
    ]
    const wrong = texts.flatMap((file) =>
      mentionsIn(readFileSync(join(root, file), 'utf8')).flatMap((mention) => {
        const problem = problemOf(mention)
        return problem === undefined ? [] : [`${file}: ${mention.text}: ${problem}`]
      }),
    )
    assert.deepEqual(wrong, [])
  })
})
