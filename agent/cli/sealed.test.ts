/** `mesh inference --sealed` against a control plane that cheats: whatever it does to keys and pieces is noticed. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { describe, it, type TestContext } from 'node:test'
import { routes } from '../../shared/api/routes.ts'
import { openHome } from '../../shared/home.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import type { Job, JobEvent, JobSubmission } from '../../shared/schema/job.ts'
import { createAnswerSealer } from '../../shared/sealed/sealed-answer.ts'
import { newSealingPair, openJob } from '../../shared/sealed/sealed-job.ts'
import { signSealingKey } from '../../shared/sealed/sealing-key.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { createPool, type LocalPool } from '../device/pools.ts'
import { saveDevice } from '../device/device.ts'
import { runCli } from './run.ts'

interface Ring {
  key: string
  certificate: string
  leader: string
  epoch: number
}

interface Stage {
  readonly pool: LocalPool
  readonly root: KeyPair
  /** Rank 0, a member. */
  readonly leader: KeyPair
  readonly submissions: JobSubmission[]
  readonly cancelled: string[]
  /** What the control plane shows of the ring, how it changes the pieces of an answer, and how a job ends. */
  ring: Ring
  change: (pieces: readonly string[]) => readonly string[]
  fail: ((index: number) => string | undefined) | undefined
  removed: string | undefined
  run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }>
}

const answer = [
  { tokens: [5], text: ' there' },
  { tokens: [6], text: ' was' },
  { tokens: [], text: '', end: { finishReason: 'stop', tokens: 2 } },
] as const

const stage = async (t: TestContext): Promise<Stage> => {
  const home = openHome(temporaryFolder(t))
  const [leader, sealing] = [newKeyPair(), await newSealingPair()]
  const submissions: JobSubmission[] = []
  const cancelled: string[] = []
  const server = createServer((request, response) => void serve(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const device = saveDevice(home, {
    networkId: 'home',
    name: 'Laptop',
    controlPlaneUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  })
  const pool = createPool(home, device.deviceId, 'home', Date.now())
  const root = pool.rootKey as KeyPair
  const epoch = { poolId: pool.poolId, ringId: 'ring_1', epoch: 3 }
  const here: Stage = {
    pool,
    root,
    leader,
    submissions,
    cancelled,
    removed: undefined,
    fail: undefined,
    change: (pieces) => pieces,
    ring: {
      key: signSealingKey(leader, epoch, sealing.publicKey),
      certificate: issueCertificate(root, { deviceId: deviceIdOf(leader), role: 'member' }, Date.now()),
      leader: deviceIdOf(leader),
      epoch: 3,
    },
    run: async (...args) => {
      const out = { stdout: '', stderr: '' }
      const code = await runCli(['inference', '--sealed', 'Once upon a SECRET', '--stop', 'STOPSECRET', ...args], {
        home,
        colour: false,
        now: Date.now,
        fetch,
        signal: new AbortController().signal,
        stdin: { isTTY: true, mayIdle: true, stream: Readable.from([]) },
        stdout: { write: (part) => void (out.stdout += part), isTTY: false, columns: 80 },
        stderr: { write: (part) => void (out.stderr += part), isTTY: false, columns: 80 },
      })
      return { code, ...out }
    },
  }
  let job: Job | undefined
  const end = (change: Partial<Job>): JobEvent => ({
    sequence: 9,
    type: 'end',
    job: {
      ...(job as Job),
      worldSize: 2,
      state: 'done',
      finishReason: 'stop',
      usage: { promptTokens: 4, completionTokens: 2, totalTokens: 6 },
      ...change,
    },
  })
  const play = async (): Promise<JobEvent[]> => {
    const code = here.fail?.(submissions.length)
    if (code !== undefined) return [end({ state: 'failed', error: { code, message: code } })]
    const opened = await openJob(sealing, pool.poolId, submissions.at(-1) as JobSubmission)
    assert.deepEqual([opened.submission.prompt, opened.submission.stop], ['Once upon a SECRET', ['STOPSECRET']])
    const sealer = createAnswerSealer(opened.answerSecret)
    const pieces = here.change(answer.map((piece) => sealer.piece(piece)))
    const events = pieces
      .slice(0, -1)
      .map((text, index): JobEvent => ({ sequence: index + 1, type: 'tokens', firstIndex: index, tokens: [0], text }))
    return [...events, end({ text: pieces.join(''), tokens: [0, 0] })]
  }
  const serve = async (
    request: import('node:http').IncomingMessage,
    response: import('node:http').ServerResponse,
  ): Promise<void> => {
    const url = request.url ?? ''
    let body = ''
    for await (const part of request as AsyncIterable<Buffer>) body += part.toString()
    if (request.method === 'DELETE') cancelled.push(url)
    if (url === routes.controlPlane.path) response.end(JSON.stringify({ controlPlaneKey: 'ef'.repeat(32) }))
    else if (url.endsWith('/rings'))
      response.end(
        JSON.stringify([
          {
            ringId: 'ring_1',
            poolId: pool.poolId,
            modelId: 'tiny-story',
            epoch: here.ring.epoch,
            status: 'active',
            reason: '',
            worldSize: 1,
            members: [{ deviceId: here.ring.leader, name: 'Desktop', rank: 0 }],
            sealing: { key: here.ring.key, certificate: here.ring.certificate },
          },
        ]),
      )
    else if (url.endsWith('/revocations'))
      response.end(
        JSON.stringify(
          here.removed === undefined
            ? {}
            : { list: signRevocations(root, { after: 0, removed: [here.removed] }, Date.now()) },
        ),
      )
    else if (url.endsWith('/jobs')) {
      submissions.push(JSON.parse(body) as JobSubmission)
      job = {
        jobId: `job_${submissions.length}`,
        poolId: pool.poolId,
        submittedBy: device.deviceId,
        submission: submissions.at(-1) as JobSubmission,
        state: 'queued',
        worldSize: 0,
        epoch: 0,
        text: '',
        tokens: [],
        createdAt: 1,
      }
      response.end(JSON.stringify(job))
    } else if (url.endsWith('/events')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const event of await play()) response.write(`id: ${event.sequence}\ndata: ${JSON.stringify(event)}\n\n`)
      response.end()
    } else response.end(JSON.stringify(job ?? {}))
  }
  return here
}

describe('mesh inference --sealed', () => {
  it('prints the answer, and sends nothing of the prompt', async (t) => {
    const here = await stage(t)
    assert.deepEqual(await here.run(), { code: 0, stdout: ' there was\n', stderr: '' })
    assert.ok(!JSON.stringify(here.submissions).includes('SECRET'))
    const {
      tokens,
      finish_reason: reason,
      text,
    } = JSON.parse((await here.run('--json')).stdout) as { tokens: number[]; finish_reason: string; text: string }
    assert.deepEqual([tokens, reason, text], [[5, 6], 'stop', ' there was'])
  })

  it('pieces that are lost, moved, repeated, changed or cut off end it: nothing after them is shown, and the job is cancelled', async (t) => {
    const here = await stage(t)
    const flip = (text: string): string => text.slice(0, 30) + (text[30] === 'A' ? 'B' : 'A') + text.slice(31)
    for (const [name, change] of Object.entries({
      lost: ([, b, c]: readonly string[]) => [b, c],
      moved: ([a, b, c]: readonly string[]) => [b, a, c],
      repeated: ([a, b, c]: readonly string[]) => [a, a, b, c],
      changed: ([a, b, c]: readonly string[]) => [a, flip(b), c],
      cut: ([a, b]: readonly string[]) => [a, b],
      empty: () => [''],
      plain: () => [' forged text'],
    })) {
      here.change = change
      const before = here.cancelled.length
      const { code, stdout, stderr } = await here.run()
      assert.deepEqual(
        [code, stderr.startsWith('error: what was sealed was changed on its way')],
        [7, true],
        `${name}: ${stderr}`,
      )
      assert.ok(' there was\n'.startsWith(stdout.trimEnd()), `${name}: ${stdout}`)
      assert.equal(here.cancelled.length, before + 1)
    }
  })

  it('keys of others are not sealed for: the control plane, a stranger, a removed member, another epoch; nothing is sent then', async (t) => {
    const here = await stage(t)
    const { ring, pool, root } = here
    const [stranger, own] = [newKeyPair(), await newSealingPair()]
    const epoch = { poolId: pool.poolId, ringId: 'ring_1', epoch: 3 }
    const asStranger = { key: signSealingKey(stranger, epoch, own.publicKey), leader: deviceIdOf(stranger) }
    for (const [name, shown] of Object.entries({
      'a key of the control plane': { key: signSealingKey(stranger, epoch, own.publicKey) },
      'a stranger with a certificate of its own root': {
        ...asStranger,
        certificate: issueCertificate(stranger, { deviceId: deviceIdOf(stranger), role: 'member' }, Date.now()),
      },
      'a stranger with the certificate of a member': asStranger,
      'a member whose certificate is over': {
        certificate: issueCertificate(
          root,
          { deviceId: deviceIdOf(here.leader), role: 'member' },
          Date.now() - 30 * 86_400_000,
        ),
      },
      'a key of an earlier epoch': { epoch: 4 },
    })) {
      here.ring = { ...ring, ...shown }
      const { code, stdout, stderr } = await here.run()
      assert.deepEqual(
        [code, stdout, stderr.startsWith('error: the key to seal the prompt with cannot be believed')],
        [7, '', true],
        `${name}: ${stderr}`,
      )
    }
    here.ring = ring
    here.removed = deviceIdOf(here.leader)
    assert.match((await here.run()).stderr, /cannot be believed.*was removed/)
    assert.equal(here.submissions.length, 0)
  })

  it('where rank 0 changed meanwhile the prompt is sealed again, under another key of its own, a few times at most', async (t) => {
    const here = await stage(t)
    here.fail = (index) => (index < 3 ? 'sealStale' : undefined)
    assert.deepEqual(await here.run(), { code: 0, stdout: ' there was\n', stderr: '' })
    assert.equal(here.submissions.length, 3)
    assert.equal(new Set(here.submissions.map(({ idempotencyKey }) => idempotencyKey)).size, 3)
    assert.equal(new Set(here.submissions.map(({ sealed }) => sealed?.enc)).size, 3)
    here.fail = () => 'sealStale'
    const { code, stderr } = await here.run()
    assert.deepEqual([code, here.submissions.length, /another rank 0/.test(stderr)], [6, 8, true])
  })
})
