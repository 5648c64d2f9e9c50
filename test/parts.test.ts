/** The lists of `tools/parts.mjs` against what the parts import: one that lacks a package starts nowhere. */
import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { allCommands } from '../agent/cli/commands.ts'
import { librariesOf, type PartName, parts } from '../tools/parts.mjs'
import { reachedFrom } from './support/imports.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const commands = await allCommands()
const programs = ['agent/background/main.ts', 'control-plane/main.ts', 'relay-server/main.ts', 'bench/main.ts']

/** Files of commands that need something else. */
const commandsBeyond = (names: readonly PartName[]): string[] =>
  commands
    .filter(({ needs }) => needs.some((part) => !(names as readonly string[]).includes(part)))
    .map(({ name }) => `agent/cli/commands/${name}.ts`)

describe('parts of an installation', () => {
  for (const names of [['relay'], ['control-plane'], ['relay', 'control-plane']] as const)
    it(`${names.join(' and ')}: has what it imports and its commands do, and nothing else`, () => {
      const own = names.map((name) => `${parts[name].folder}/main.ts`)
      const others = programs.filter((program) => !own.includes(program))
      const { libraries } = reachedFrom(root, ['agent/main.ts', ...own], [...others, ...commandsBeyond(names)])
      assert.deepEqual(librariesOf(names).toSorted(), [...libraries, 'node'].toSorted())
    })

  it('each part is needed by the command of its name, and what computes by those that compute', () => {
    const needing = (part: string): string[] =>
      commands.filter(({ needs }) => (needs as readonly string[]).includes(part)).map(({ name }) => name)
    assert.deepEqual(needing('relay').toSorted(), ['demo', 'relay', 'up'])
    assert.deepEqual(needing('control-plane').toSorted(), ['control-plane', 'demo', 'up'])
    assert.deepEqual(needing('agent').toSorted(), [
      'bench',
      'demo',
      'join',
      'join-ring',
      'model-add',
      'model-plan',
      'model-pull',
      'model-show',
      'service-install',
      'start',
      'up',
    ])
  })
})
