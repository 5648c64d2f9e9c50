/** Options of the programs that `mesh` starts: their defaults, and what stands above those. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseArgs } from 'node:util'
import { parseProgram } from './flags.ts'
import { defaultPorts } from './options.ts'
import { programOptions } from './program-options.ts'

describe('options of programs', () => {
  it('a default of the program stands above the table, below what a file says, below the command line', () => {
    const port = (args: string[], file?: Partial<Record<string, string>>): number =>
      parseProgram('relay', parseArgs, { args, defaults: () => file ?? {} }).port
    assert.equal(port([]), defaultPorts.relay)
    assert.equal(port([], { port: undefined }), defaultPorts.relay)
    assert.equal(port([], { port: '5000' }), 5000)
    assert.equal(port(['--port', '0'], { port: '5000' }), 0)
    assert.equal(parseProgram('controlPlane', parseArgs, { args: [] }).port, defaultPorts.controlPlane)
    const { quant, threads, logLevel } = parseProgram('bench', parseArgs, { args: [] })
    assert.deepEqual([quant, threads, logLevel], ['q4', 1, 'info'])
  })

  it('what a file says is asked for with what the command line names', () => {
    const seen: unknown[] = []
    parseProgram('relay', parseArgs, {
      args: ['--open', '--pool', 'a'.repeat(64)],
      defaults: ({ open, servedPools, data }) => {
        seen.push(open, servedPools, data)
        return {}
      },
    })
    assert.deepEqual(seen, [true, ['a'.repeat(64)], undefined])
  })

  it('a program refuses what only another one has', () => {
    for (const program of Object.keys(programOptions) as (keyof typeof programOptions)[])
      assert.throws(() => parseProgram(program, parseArgs, { args: ['--passphrase-file', 'x'] }), { code: 'usage' })
    assert.throws(() => parseProgram('relay', parseArgs, { args: ['--lease', '3s'] }), { code: 'usage' })
    assert.equal(parseProgram('controlPlane', parseArgs, { args: ['--lease', '3s'] }).lease, 3000)
  })
})
