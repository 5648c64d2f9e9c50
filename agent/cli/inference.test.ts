/**
 * `mesh inference` as a process against an HTTP server that plays a control plane: what is printed, and how it ends.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, it, type TestContext } from 'node:test'
import { routes } from '../../shared/api/routes.ts'
import { MeshError } from '../../shared/errors.ts'
import { openHome } from '../../shared/home.ts'
import { environmentFor } from '../../shared/options.ts'
import type { Job, JobEvent, JobSubmission } from '../../shared/schema/job.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { eventually, mesh, meshHere, runMesh, within } from '../../test/support/processes.ts'
import { startProcess } from './managed-process.ts'
import { commandOf } from './programs.ts'
import { runCli } from './run.ts'

interface Stage {
  readonly home: string
  readonly submissions: JobSubmission[]
  readonly cancelled: string[]
}

const read = async (stream: AsyncIterable<Buffer>): Promise<string> => {
  let text = ''
  for await (const part of stream) text += part.toString()
  return text
}

/** A device in a pool whose control plane plays `script` to everyone who follows a job. */
const play = async (t: TestContext, script: (job: Job, response: ServerResponse) => void): Promise<Stage> => {
  const home = temporaryFolder(t)
  const submissions: JobSubmission[] = []
  const cancelled: string[] = []
  let job: Job | undefined
  const server = createServer((request, response) => {
    const url = request.url ?? ''
    void read(request).then((body) => {
      if (request.method === 'DELETE') cancelled.push(url)
      if (request.method === 'POST' && url.endsWith('/jobs')) {
        const submission = JSON.parse(body) as JobSubmission
        submissions.push(submission)
        job = {
          jobId: 'job_1',
          poolId: 'ab'.repeat(32),
          submittedBy: 'cd'.repeat(32),
          submission,
          state: 'queued',
          worldSize: 0,
          epoch: 0,
          text: '',
          tokens: [],
          createdAt: 1,
        }
      }
      if (url === routes.controlPlane.path) response.end(JSON.stringify({ controlPlaneKey: 'ef'.repeat(32) }))
      else if (url.endsWith('/events') && job)
        script(job, response.writeHead(200, { 'content-type': 'text/event-stream' }))
      else response.end(JSON.stringify(job ?? {}))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  await mesh(
    [
      'init',
      '--network-id',
      'home',
      '--name',
      'laptop',
      '--control-plane',
      `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ],
    { home },
  )
  await mesh(['pool-create', '--name', 'home'], { home })
  return { home, submissions, cancelled }
}

const send = (response: ServerResponse, ...events: JobEvent[]): void =>
  events.forEach((event) => response.write(`id: ${event.sequence}\ndata: ${JSON.stringify(event)}\n\n`))
const running: JobEvent = { sequence: 0, type: 'state', state: 'running', worldSize: 2 }
const tokens = (sequence: number, firstIndex: number, text: string): JobEvent => ({
  sequence,
  type: 'tokens',
  firstIndex,
  tokens: [sequence],
  text,
})
const done = (job: Job, changes: Partial<Job>): JobEvent => ({
  sequence: 9,
  type: 'end',
  job: {
    ...job,
    state: 'done',
    worldSize: 2,
    finishReason: 'stop',
    usage: { promptTokens: 4, completionTokens: 2, totalTokens: 6 },
    ...changes,
  },
})

describe('mesh inference', () => {
  it('prints the text and a line end, and nothing on stderr that is no terminal', async (t) => {
    const { home, submissions } = await play(t, (job, response) => {
      send(
        response,
        running,
        tokens(1, 0, ' there'),
        tokens(2, 1, ' was'),
        done(job, { text: ' there was', tokens: [1, 2] }),
      )
      response.end()
    })
    const { code, stdout, stderr } = await runMesh(
      ['inference', '--prompt', 'Once', '--temperature', '0', '--stop', '\n', '--max-tokens', '9'],
      { home },
    )
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: ' there was\n', stderr: '' })
    const [{ prompt, messages, special, maxTokens, sampling, stop, modelId }] = submissions
    assert.deepEqual(
      [prompt, messages, special, maxTokens, sampling.temperature, stop, modelId],
      ['Once', undefined, undefined, 9, 0, ['\n'], 'tiny-story'],
    )
  })

  it('the prompt may be the argument, a file, or text on standard input that is longer than an argument may be', async (t) => {
    const { home, submissions } = await play(t, (job, response) => {
      send(response, running, tokens(1, 0, ' x'), done(job, { text: ' x', tokens: [1] }))
      response.end()
    })
    const long = 'Once upon a time. '.repeat(20_000)
    const file = join(home, 'prompt.txt')
    writeFileSync(file, 'Once in a file\r\n')
    const asked = async (args: readonly string[], input?: string): Promise<string | undefined> => {
      assert.equal(await mesh(['inference', ...args], { home, input }), ' x\n')
      return submissions.at(-1)?.prompt
    }
    assert.equal(await asked(['Once']), 'Once')
    assert.equal(await asked(['--prompt-file', file]), 'Once in a file')
    assert.equal(await asked(['-'], 'Once piped\n'), 'Once piped')
    assert.equal(await asked([], long), long)
  })

  it('a prompt that is empty, twice there or no text is refused before anybody is asked', async (t) => {
    const { home, submissions } = await play(t, () => undefined)
    for (const [args, input, code, error] of [
      [[], '', 2, 'the prompt is empty'],
      [[], undefined, 2, 'the prompt is empty'],
      [['Once'], 'and more', 2, 'a prompt comes from the command line and from standard input too'],
      [['Once', '--prompt', 'Twice'], undefined, 2, 'give --prompt or the same without the flag, not both'],
      [[], Buffer.from([0x4f, 0xff]), 3, 'cannot read the prompt from standard input: line 1 is not text in UTF-8'],
      [['-'], 'a'.repeat(1_000_001), 2, 'the prompt has more than 1,000,000 characters'],
    ] as const) {
      const { code: got, stdout, stderr } = await runMesh(['inference', ...args], { home, input })
      assert.deepEqual([got, stdout, stderr.split('\n')[0]], [code, '', `error: ${error}`])
    }
    assert.equal(submissions.length, 0)
  })

  it('a terminal shows the prompt before the text that continues it, nothing else does', async (t) => {
    const { home } = await play(t, (job, response) => {
      send(response, running, tokens(1, 0, ' there'), done(job, { text: ' there', tokens: [1] }))
      response.end()
    })
    const shown = async (isTTY: boolean, ...args: string[]): Promise<string> => {
      let text = ''
      const code = await runCli(['inference', ...args], {
        home: openHome(home),
        colour: isTTY,
        now: Date.now,
        fetch,
        signal: new AbortController().signal,
        stdin: { isTTY: true, mayIdle: true, stream: Readable.from([]) },
        stdout: { write: (part) => void (text += part), isTTY, columns: 80 },
        stderr: { write: () => undefined, isTTY: false, columns: 80 },
      })
      assert.equal(code, 0)
      return text
    }
    assert.equal(await shown(true, 'Once\u001b[31m'), '\u001b[1mOnce[31m\u001b[22m there\n')
    assert.equal(
      await shown(true, 'y'.repeat(2000) + 'z'.repeat(2000)),
      `\u001b[1m… ${'z'.repeat(2000)}\u001b[22m there\n`,
    )
    for (const args of [
      ['Once', '--json'],
      ['Once', '--chat'],
    ])
      assert.ok(!(await shown(true, ...args)).includes('Once'), args.join(' '))
    assert.equal(await shown(false, 'Once'), ' there\n')
  })

  it('a reader that goes away (| head) ends it without a word, and cancels the job', async (t) => {
    const { home, cancelled } = await play(t, (_, response) => {
      send(response, running)
      let sequence = 1
      const timer = setInterval(() => send(response, tokens(sequence, sequence++ - 1, ' there')), 20)
      response.on('close', () => clearInterval(timer))
    })
    const [file, ...args] = commandOf('mesh')
    const child = spawn(file, [...args, 'inference', 'Once'], {
      env: environmentFor(home),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 120_000,
      killSignal: 'SIGKILL',
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
    child.stdout.once('data', () => child.stdout.destroy())
    const [code] = (await once(child, 'close')) as [number | null]
    assert.deepEqual([code, stderr, cancelled.length], [141, '', 1])
  })

  it('prints what a lost delta left out, from the answer at the end', async (t) => {
    const { home } = await play(t, (job, response) => {
      send(response, running, tokens(1, 0, ' there'), done(job, { text: ' there was a fox', tokens: [1, 2] }))
      response.end()
    })
    assert.equal(await mesh(['inference', '--prompt', 'Once'], { home }), ' there was a fox\n')
  })

  it('--json prints one object with snake-case names', async (t) => {
    const timings = {
      queuedMs: 1,
      timeToFirstTokenMs: 2,
      prefillMs: 3,
      decodeMs: 4,
      prefillTokensPerSecond: 5,
      decodeTokensPerSecond: 6,
      computeMs: 7,
      collectiveMs: 8,
    }
    const { home, submissions } = await play(t, (job, response) => {
      send(response, running, tokens(1, 0, ' x'), done(job, { text: ' x', tokens: [1], timings }))
      response.end()
    })
    const answer = JSON.parse(
      await mesh(['inference', '--chat', '--special', '--prompt', 'Once', '--seed', '5', '--json'], { home }),
    ) as Record<string, unknown>
    assert.deepEqual(answer, {
      text: ' x',
      tokens: [1],
      finish_reason: 'stop',
      usage: { prompt_tokens: 4, completion_tokens: 2, total_tokens: 6 },
      timings: {
        queued_ms: 1,
        time_to_first_token_ms: 2,
        prefill_ms: 3,
        decode_ms: 4,
        prefill_tokens_per_second: 5,
        decode_tokens_per_second: 6,
        compute_ms: 7,
        collective_ms: 8,
      },
      job_id: 'job_1',
      model: 'tiny-story',
      workers: 2,
      seed: 5,
    })
    const [{ messages, special }] = submissions
    assert.deepEqual([messages, special], [[{ role: 'user', content: 'Once' }], true])
  })

  it('a failed job ends with the exit code of its reason, after the text that came', async (t) => {
    const error = new MeshError('peerLost', { peer: 'laptop', rank: 1, problem: 'it went away' }).toReport()
    const { home } = await play(t, (job, response) => {
      send(response, running, tokens(1, 0, ' there'), done(job, { state: 'failed', text: ' there', error }))
      response.end()
    })
    const { code, stdout, stderr } = await meshHere(['inference', '--prompt', 'Once'], home)
    assert.deepEqual([code, stdout], [6, ' there\n'])
    assert.equal(stderr, `error: ${error.message}\nhint: ${error.hint}\n`)
  })

  it('Ctrl-C cancels the job and ends with 130', async (t) => {
    const { home, cancelled } = await play(t, (_, response) => send(response, running, tokens(1, 0, ' there')))
    const process = startProcess({
      name: 'inference',
      program: 'mesh',
      args: ['inference', '--prompt', 'Once', '--log-level', 'debug'],
      home,
    })
    afterwards(t, () => process.stop())
    await eventually(10_000, 'the events are open', () =>
      process.tail().some((line) => line.includes('/events') && line.includes('"status":200')) ? true : undefined,
    )
    process.signal('SIGINT')
    assert.equal((await within(5000, 'it ends', process.ended)).code, 130)
    assert.equal(cancelled.length, 1)
    assert.match(cancelled[0], /\/jobs\/job_1$/)
    assert.ok(process.tail().includes('error: the job was cancelled'))
  })

  it('a job that no ring takes in time is cancelled and ends with 6', async (t) => {
    const { home, cancelled } = await play(t, (_, response) =>
      send(response, { sequence: 0, type: 'state', state: 'queued', worldSize: 0 }),
    )
    const { code, stderr } = await meshHere(['inference', '--prompt', 'Once', '--wait', '300ms'], home)
    assert.deepEqual([code, stderr.split('\n')[0]], [6, 'error: the job waited 300 ms for a ring'])
    assert.equal(cancelled.length, 1)
  })

  it('what it waits for is told while it waits, each news once, also where stderr is no terminal', async (t) => {
    const { home } = await play(t, (job, response) => {
      const wait = (before: number, reason: string): void =>
        void response.write(`event: waiting\ndata: ${JSON.stringify({ type: 'waiting', before, reason })}\n\n`)
      send(response, { sequence: 0, type: 'state', state: 'queued', worldSize: 0 })
      for (const before of [2, 1, 1]) wait(before, '')
      wait(1, 'no device is online; Lap\u001b[2Jtop would serve it')
      wait(0, 'Laptop is loading')
      send(response, { ...running, sequence: 1 }, done(job, { text: ' x', tokens: [1] }))
      response.end()
    })
    const { code, stdout, stderr } = await meshHere(['inference', '--prompt', 'Once'], home)
    assert.deepEqual([code, stdout], [0, ' x\n'])
    assert.deepEqual(stderr.split('\n'), [
      'waiting: the ring is busy, 2 before you',
      'waiting: the ring is busy, 1 before you',
      'waiting: no device is online; Lap?[2Jtop would serve it, 1 before you',
      'waiting: Laptop is loading',
      '',
    ])
  })

  it('a job that no ring takes in time ends with what it waited for', async (t) => {
    const { home, cancelled } = await play(t, (_, response) => {
      send(response, { sequence: 0, type: 'state', state: 'queued', worldSize: 0 })
      response.write(
        `event: waiting\ndata: ` +
          `${JSON.stringify({ type: 'waiting', before: 0, reason: 'no device is online; Laptop would serve it' })}\n\n`,
      )
    })
    const { code, stderr } = await meshHere(['inference', '--prompt', 'Once', '--wait', '300ms'], home)
    assert.equal(code, 6)
    assert.match(
      stderr,
      /^error: the job waited 300 ms for a ring: no device is online; Laptop would serve it\nhint: .*--wait/m,
    )
    assert.equal(cancelled.length, 1)
  })

  it('where no waiting helps it ends at once, and the job with it', async (t) => {
    const error = new MeshError('ringBlocked', {
      modelId: 'm',
      device: 'Laptop',
      problem: 'model m here has revision a, the ring uses b',
      advice: 'give every device the same files',
    }).toReport()
    const { home, cancelled } = await play(t, (_, response) => {
      send(response, { sequence: 0, type: 'state', state: 'queued', worldSize: 0 })
      response.write(
        `event: waiting\ndata: ${JSON.stringify({ type: 'waiting', before: 0, reason: error.message, error })}\n\n`,
      )
    })
    const { code, stderr } = await meshHere(['inference', '--prompt', 'Once'], home)
    assert.deepEqual([code, stderr], [6, `error: ${error.message}\nhint: ${error.hint}\n`])
    assert.equal(cancelled.length, 1)
  })

  it('a job that runs and waits for room on a disk waits no longer than it may', async (t) => {
    const { home } = await play(t, (_, response) => {
      send(response, running, tokens(1, 0, ' there'))
      response.write(
        `event: waiting\ndata: ${JSON.stringify({ type: 'waiting', before: 0, reason: 'the disk is full' })}\n\n`,
      )
    })
    const { code, stdout, stderr } = await meshHere(['inference', '--prompt', 'Once', '--wait', '300ms'], home)
    assert.deepEqual([code, stdout], [6, ' there\n'])
    assert.match(stderr, /^waiting: the disk is full\nerror: the job waited 300 ms .*: the disk is full$/m)
  })

  it('a job that runs may take longer than the wait', async (t) => {
    const { home } = await play(t, (job, response) => {
      send(response, running)
      const timer = setTimeout(() => {
        send(response, tokens(1, 0, ' slow'), done(job, { text: ' slow', tokens: [1] }))
        response.end()
      }, 800)
      response.on('close', () => clearTimeout(timer))
    })
    assert.equal(await mesh(['inference', '--prompt', 'Once', '--wait', '500ms'], { home }), ' slow\n')
  })
})
