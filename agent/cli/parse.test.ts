import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { type OptionName, optionRecord, optionTable } from '../../shared/options.ts'
import { version } from '../../shared/version.ts'
import { allCommands, commandsFor } from './commands.ts'
import { otherWords } from './other-words.ts'
import { parseArguments } from './parse.ts'

const commands = await allCommands()

const parse = (...argv: string[]): ReturnType<typeof parseArguments> => parseArguments(commands, argv)
const given = (...argv: string[]): Record<string, unknown> => {
  const parsed = parse(...argv)
  assert.equal(parsed.kind, 'run')
  return parsed.kind === 'run' ? parsed.given : {}
}
const text = (...argv: string[]): string => {
  const parsed = parse(...argv)
  assert.equal(parsed.kind, 'text')
  return parsed.kind === 'text' ? parsed.text : ''
}
const usage =
  (problem: RegExp) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === 'usage' && problem.test(error.message) && !error.message.includes('\n')

describe('commands', () => {
  it('the list: names are unique, every command has a summary and an example that names it', () => {
    assert.equal(new Set(commands.map(({ name }) => name)).size, commands.length)
    for (const { name, summary, examples } of commands) {
      assert.ok(summary.length > 0 && examples.length > 0, name)
      for (const example of examples) assert.match(example, new RegExp(`^mesh ${name}( |$)`))
    }
  })

  it('the list: every option of the table belongs to a command, and to each only once', () => {
    const used = new Set(commands.flatMap(({ options }) => options))
    assert.deepEqual(
      (Object.keys(optionTable) as OptionName[]).filter((name) => !used.has(name)),
      [],
    )
    for (const { name, options } of commands) assert.equal(new Set(options).size, options.length, name)
  })

  it('the list: what is required or has a default of its own is an option of the command', () => {
    for (const { name, options, required, defaults } of commands) {
      for (const option of [...required, ...(Object.keys(defaults) as OptionName[])])
        assert.ok(options.includes(option), `${name} ${option}`)
    }
  })

  it('the list: every example can be parsed', () => {
    for (const example of commands.flatMap(({ examples }) => examples)) {
      const argv = [...example.replace(/^mesh /, '').matchAll(/"([^"]*)"|(\S+)/g)].map(
        ([, quoted, plain]) => quoted ?? plain,
      )
      assert.equal(parse(...argv).kind, 'run', example)
    }
  })

  it('the list: every command has --json', () => {
    for (const { name, options } of commands) assert.ok(options.includes('json'), name)
  })
})

describe('command line', () => {
  it('flags become raw values by the name of their option', () => {
    assert.deepEqual(
      given('inference', '--prompt', 'Hi there', '--max-tokens', '5', '--json', '--stop', 'a', '--stop', 'b,c'),
      { prompt: 'Hi there', maxTokens: '5', json: true, stop: ['a', 'b,c'] },
    )
    assert.deepEqual(given('inference', '--prompt=--odd', '--temperature', '-1'), {
      prompt: '--odd',
      temperature: '-1',
    })
    assert.deepEqual(given('status'), {})
  })

  it('what is not given is absent, so that environment and defaults decide', () => {
    assert.deepEqual(given('demo'), {})
    assert.deepEqual(given('control-plane', '--port', '0'), { port: '0' })
  })

  it('a name of two words may be typed as such', () => {
    for (const argv of [
      ['ledger', 'verify', '--json'],
      ['ledger-verify', '--json'],
    ]) {
      const parsed = parse(...argv)
      assert.deepEqual(parsed.kind === 'run' && [parsed.command.name, parsed.given, parsed.rest], [
        'ledger-verify',
        { json: true },
        ['--json'],
      ])
    }
    assert.equal(text('ledger', 'verify', '--help'), text('ledger-verify', '--help'))
  })

  it('one value may stand without its flag where the command says so', () => {
    for (const argv of [['0123456789abcdef'], ['--key', '0123456789abcdef'], ['0123456789abcdef', '--json']])
      assert.equal(given('api-key-revoke', ...argv).key, '0123456789abcdef')
    assert.deepEqual(given('api-key-revoke'), {})
    assert.throws(() => parse('api-key-revoke', '0123456789abcdef', 'another'), usage(/too many arguments/))
  })

  it('a flag that begins with no- is given or not, and one letter stands for what is typed often', () => {
    assert.deepEqual(given('join', 'mesh-invite:x', '--no-start', '-d'), {
      invite: 'mesh-invite:x',
      noStart: true,
      detach: true,
    })
    assert.deepEqual(given('join', 'mesh-invite:x'), { invite: 'mesh-invite:x' })
    assert.deepEqual(given('logs', 'agent', '-f', '-n', '7'), { part: 'agent', follow: true, lines: '7' })
  })

  it('the rest of the line is kept for programs that we start', () => {
    const parsed = parse('relay', '--port', '0', '--announce', '/ip4/1.1.1.1/tcp/1')
    assert.deepEqual(parsed.kind === 'run' && parsed.rest, ['--port', '0', '--announce', '/ip4/1.1.1.1/tcp/1'])
  })

  it('help lists every command; help of a command lists its options with default, variable and examples', () => {
    const help = text('--help')
    for (const { name } of commands) assert.match(help, new RegExp(`^  ${name} `, 'm'))
    for (const command of commands) {
      const own = text(command.name, '--help').replaceAll(/\s+/g, ' ')
      for (const name of command.options) assert.ok(own.includes(optionRecord(name).flag), `${command.name} ${name}`)
      for (const example of command.examples) assert.ok(own.includes(example), example)
    }
    assert.match(text('inference', '--help'), /--model-id <name> .*default: tiny-story; env: MESHNET_MODEL/)
    assert.match(text('demo', '--help'), /--seed <n> [^-]*default: 1\)/)
    assert.doesNotMatch(text('demo', '--help'), /default: random/)
    assert.equal(text('help', 'init'), text('init', '--help'))
  })

  it('--version is the version', () => assert.equal(text('--version').trim(), version))

  it('a word that is no command leads to what is meant: almost right, of another program, a part of a name', () => {
    for (const [typed, message, hint] of [
      [
        'statsu',
        /^there is no command statsu; did you mean mesh status \(this device at a glance.*\)\?$/,
        'mesh status --help',
      ],
      ['help statsu', /did you mean mesh status \(/, 'mesh status --help'],
      ['inferenc --promt x', /did you mean mesh inference \(/, 'mesh inference --help'],
      ['run tiny-story', /did you mean mesh inference \(/, 'mesh inference --help'],
      ['help run', /did you mean mesh inference \(/, 'mesh inference --help'],
      ['pull llama3', /did you mean mesh model-pull \(.* or mesh join-ring \(/, 'mesh model-pull --help'],
      [
        'list',
        /; there are mesh model-list, mesh ring-status, mesh pool-list, mesh api-key-list$/,
        'mesh model-list --help',
      ],
      ['ps -a', /did you mean mesh status \(.* or mesh ring-status \(/, 'mesh status --help'],
      ['serve', /did you mean mesh up \(.* or mesh join-ring \(/, 'mesh up --help'],
      ['version', /did you mean mesh --version\?$/, 'mesh --version'],
      ['approve', /did you mean mesh pool-approve \(/, 'mesh pool-approve --help'],
      ['api', /; there are mesh api-key-create, mesh api-key-list, mesh api-key-revoke$/, 'mesh api-key-create --help'],
      ['xyzzy', /^there is no command xyzzy$/, 'mesh --help'],
      ['constructor', /^there is no command constructor$/, 'mesh --help'],
    ] as const) {
      assert.throws(
        () => parse(...typed.split(' ')),
        (error: unknown) => {
          assert.ok(error instanceof MeshError && error.code === 'commandUnknown', typed)
          assert.match(error.message, message)
          assert.equal(error.hint, hint)
          return true
        },
      )
    }
  })

  it('every word of other programs leads to commands that there are, and is none itself', () => {
    const names = new Set(commands.map(({ name }) => name))
    for (const [word, meant] of Object.entries(otherWords)) {
      assert.ok(!names.has(word), word)
      for (const name of meant) assert.ok(names.has(name) || name === '--version', `${word}: ${name}`)
    }
  })

  it('help may stand before the name, also one of two words', () => {
    assert.equal(text('help', 'ledger', 'verify'), text('ledger-verify', '--help'))
    for (const argv of [['help'], ['help', '--help']]) assert.equal(text(...argv), text('--help'))
  })

  for (const [argv, problem] of [
    [['inference', '--promt', 'x'], /unknown option '--promt' \(Did you mean --prompt\?\)/],
    [['inference', '--prompt'], /option '--prompt <text>' argument missing/],
    [['inference', '--prompt', 'Once', 'upon', 'a', 'time'], /too many arguments/],
    [['status', '--prompt', 'x'], /unknown option '--prompt'/],
    [[], /no command is given/],
  ] as const) {
    it(`refused: mesh ${argv.join(' ')}`, () => {
      assert.throws(() => parse(...argv), usage(problem))
    })
  }
})

it('a command line loads the command that it names, alone; all where it names none', async () => {
  const loadedFor = async (...typed: string[]): Promise<string[]> => (await commandsFor(typed)).map(({ name }) => name)
  for (const { name } of commands) assert.deepEqual(await loadedFor(name, '--json'), [name])
  assert.deepEqual(await loadedFor('ledger', 'verify', '--json'), ['ledger-verify'])
  assert.deepEqual(await loadedFor('ledger', '--json'), ['ledger'])
  for (const word of ['--version', '-V']) assert.deepEqual(await loadedFor(word), [])
  for (const typed of [[], ['--help'], ['help', 'status'], ['statsu'], ['toString']])
    assert.equal((await loadedFor(...typed)).length, commands.length)
})
