/**
 * Sealed prompts with real processes: whoever runs the control plane looks at all that passes it (a recording proxy
 * before it, for commands and agents), at its database and at its logs, and finds neither prompt nor answer.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { openHome } from '../shared/home.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startPrompt, startReady } from './support/processes.ts'

interface Recorder {
  readonly url: string
  /** All that passed since the last call, both ways, as text. */
  take(): string
}

/** Passes everything on to `target` and remembers it. */
const record = async (t: TestContext, target: string): Promise<Recorder> => {
  const { hostname, port } = new URL(target)
  const parts: Buffer[] = []
  const server = createServer((near) => {
    const far = connect(Number(port), hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (part: Buffer) => {
        parts.push(part)
        to.write(part)
      })
      from.on('close', () => to.destroy())
      from.on('error', () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  afterwards(t, async () => void server.close())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take: () => Buffer.concat(parts.splice(0)).toString('latin1'),
  }
}

/** All files below a folder, as text. */
const contentOf = (folder: string): string =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((file) => statSync(file).isFile())
    .map((file) => readFileSync(file, 'latin1'))
    .join('\n')

const marker = 'Zebulon'

interface Answer {
  readonly text: string
  readonly tokens: number[]
}

describe('sealed prompts', () => {
  it(
    'the control plane carries them and sees neither prompt nor answer, also over a restart of rank 0',
    { timeout: 300_000 },
    async (t) => {
      const root = temporaryFolder(t)
      const [home, services] = [join(root, 'home'), join(root, 'services')]
      let planeLog = ''
      const { info } = await startReady(t, {
        name: 'control plane',
        program: 'mesh',
        args: ['control-plane', '--port', '0', '--json', '--log-level', 'trace'],
        home: services,
        onLine: (line) => (planeLog += `${line}\n`),
      })
      const [commands, agents] = [await record(t, String(info.url)), await record(t, String(info.url))]
      await mesh(['init', '--network-id', 'home', '--name', 'Desktop', '--control-plane', commands.url], { home })
      await mesh(['pool-create', '--name', 'home'], { home })
      let agentLog = ''
      const start = () =>
        startReady(t, {
          name: 'agent',
          program: 'mesh',
          args: [
            'start',
            '--json',
            '--listen',
            '/ip4/127.0.0.1/tcp/0',
            '--control-plane',
            agents.url,
            '--discovery',
            'none',
            '--threads',
            '1',
            '--log-level',
            'trace',
          ],
          home,
          onLine: (line) => (agentLog += `${line}\n`),
        })
      const { process: agent } = await start()
      await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
      const ask = async (...more: string[]): Promise<Answer> =>
        JSON.parse(
          await mesh(
            [
              'inference',
              `Once upon a time there was ${marker}`,
              '--stop',
              `never ${marker}`,
              '--seed',
              '7',
              '--max-tokens',
              '24',
              '--control-plane',
              commands.url,
              '--json',
              ...more,
            ],
            { home },
          ),
        ) as Answer
      /** Words of four letters or more: shorter ones are everywhere. */
      const wordsOf = ({ text }: Answer): string[] => text.split(/[^a-z]+/i).filter((word) => word.length > 3)
      const seen = (): string => commands.take() + agents.take() + planeLog + agentLog + contentOf(services)

      await ask('--sealed') // waits until the ring is there
      seen()
      const sealed = await ask('--sealed')
      const [bySealed, words] = [seen(), [marker, ...wordsOf(sealed)]]
      assert.equal(sealed.tokens.length, 24)
      assert.ok(words.length > 5, sealed.text)
      assert.deepEqual(
        words.filter((word) => bySealed.includes(word)),
        [],
      )
      assert.ok(!contentOf(join(home, 'outbox')).includes(marker))

      // rank 0 is started anew while a sealed prompt waits: that key is gone, and the command seals it with the next
      // one
      const running = startPrompt(
        ['inference', 'Once', '--max-tokens', '450', '--stop', 'no such end', '--control-plane', commands.url],
        { home },
      )
      await running.begun
      process.kill(agent.pid, 'SIGSTOP') // its job does not end
      const waiting = ask('--sealed')
      await eventually(
        10_000,
        'it waits',
        async () =>
          (JSON.parse(await mesh(['pool-status', '--json'], { home })) as { jobs: { state: string }[] }).jobs.some(
            ({ state }) => state === 'queued',
          ) || undefined,
      )
      process.kill(agent.pid, 'SIGKILL')
      await agent.ended
      await start()
      assert.equal((await waiting).text, sealed.text)
      assert.notEqual((await running.result).code, 0)
      assert.deepEqual(
        words.filter((word) => seen().includes(word)),
        [],
      )

      // an app is told the root key of the pool by a person
      const { key } = JSON.parse(await mesh(['api-key-create', '--name', 'app', '--json'], { home })) as { key: string }
      const [pool] = JSON.parse(await mesh(['pool-list', '--json'], { home })) as [{ root_public_key: string }]
      const app = { home: join(root, 'app'), env: { MESH_API_KEY: key } }
      const byApp = [
        'inference',
        `Once upon a time there was ${marker}`,
        '--seed',
        '7',
        '--max-tokens',
        '24',
        '--sealed',
        '--control-plane',
        commands.url,
      ]
      assert.equal((await runMesh(byApp, app)).code, 2)
      assert.equal(
        (await mesh([...byApp, '--pool-root-pubkey', pool.root_public_key], app)).trimEnd(),
        sealed.text.trimEnd(),
      )
      assert.deepEqual(
        words.filter((word) => seen().includes(word)),
        [],
      )

      // the test looks where text passes: without --sealed it is there, and gives the same text; logs have none either
      // way
      const plain = await ask()
      assert.equal(plain.text, sealed.text)
      const passed = commands.take() + agents.take()
      assert.ok(passed.includes(marker) && wordsOf(plain).every((word) => passed.includes(word)))
      const kept = planeLog + agentLog + contentOf(services)
      assert.deepEqual(
        words.filter((word) => kept.includes(word)),
        [],
      )
      assert.ok(openHome(home).outbox.answers.startsWith(home))
      await eventually(
        5000,
        'no answer is left on the disk of the agent',
        () => readdirSync(openHome(home).outbox.answers).length === 0 || undefined,
      )
    },
  )
})
