import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Command } from './command.ts'
import { unknownCommand } from './other-words.ts'

const commands = ['inference', 'up', 'join-ring', 'leave-ring', 'pool-list', 'pool-peers', 'pool-join', 'ring-status']
  .map((name) => ({ name, summary: `does ${name}` }))
  .map((command) => command as Command)

const said = (word: string, similar: readonly string[] = []): readonly [string, string] => {
  const { message, hint } = unknownCommand(commands, word, similar)
  return [message, hint]
}

describe('words that are no command', () => {
  it('a word of other programs leads to the command that does it, with what that is', () => {
    assert.deepEqual(said('chat', ['cat']), [
      'there is no command chat; did you mean mesh inference (does inference)?',
      'mesh inference --help',
    ])
    assert.deepEqual(said('serve'), [
      'there is no command serve; did you mean mesh up (does up) or mesh join-ring (does join-ring)?',
      'mesh up --help',
    ])
  })

  it('a flag is named as such, and a command that is not listed without a summary', () => {
    assert.deepEqual(said('version'), ['there is no command version; did you mean mesh --version?', 'mesh --version'])
    assert.equal(said('benchmark')[0], 'there is no command benchmark; did you mean mesh bench?')
  })

  it('the first or the last part of a name leads to all of them; more than two are told by their names', () => {
    assert.deepEqual(said('pool'), [
      'there is no command pool; there are mesh pool-list, mesh pool-peers, mesh pool-join',
      'mesh pool-list --help',
    ])
    assert.match(said('ring')[0], /; there are mesh join-ring, mesh leave-ring, mesh ring-status$/)
    assert.match(
      said('join')[0],
      /; did you mean mesh join-ring \(does join-ring\) or mesh pool-join \(does pool-join\)\?$/,
    )
  })

  it('each is told once, and what is similar only where nothing is known', () => {
    assert.match(said('peers')[0], /; did you mean mesh pool-peers \(does pool-peers\)\?$/)
    assert.match(said('pool-lst', ['pool-list'])[0], /; did you mean mesh pool-list \(does pool-list\)\?$/)
    assert.deepEqual(said('xyzzy'), ['there is no command xyzzy', 'mesh --help'])
    assert.deepEqual(said('toString'), ['there is no command toString', 'mesh --help'])
  })
})
