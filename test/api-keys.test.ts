/** API keys with real processes: a machine that is no device runs prompts with a key, by the CLI and by plain HTTP. */
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openHome } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { CreditsView } from '../shared/schema/credits.ts'
import type { Job } from '../shared/schema/job.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, runProgram, type RunResult, startReady } from './support/processes.ts'

interface Made {
  readonly key: string
  readonly key_id: string
  readonly pool_id: string
}

it(
  'api keys: a prompt by key from a machine without a device, paid by who made the key, until it is revoked',
  { timeout: 300_000 },
  async (t) => {
    const root = temporaryFolder(t)
    const [a, b, guest] = ['a', 'b', 'guest'].map((name) => join(root, name))
    const json = async <T>(home: string, ...args: string[]): Promise<T> =>
      JSON.parse(await mesh([...args, '--json'], { home })) as T
    const { info, process: control } = await startReady(t, {
      name: 'control plane',
      program: 'mesh',
      args: ['control-plane', '--port', '0', '--settle-after', '3s', '--log-level', 'trace', '--json'],
      home: join(root, 'services'),
    })
    const url = String(info.url)
    await mesh(['init', '--network-id', 'home', '--name', 'Desktop', '--control-plane', url], { home: a })
    await mesh(['init', '--network-id', 'home', '--name', 'Laptop', '--control-plane', url], { home: b })
    await mesh(['pool-create', '--name', 'home'], { home: a })
    await startReady(t, {
      name: 'desktop',
      program: 'mesh',
      args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--discovery', 'none', '--threads', '1'],
      home: a,
    })
    await mesh(['join-ring', '--model-id', 'tiny-story'], { home: a })
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: a })).trim()], { home: b })
    await eventually(30_000, 'the ring is active', async () =>
      (await json<Printed<RingView>[]>(a, 'ring-status'))[0]?.status === 'active' ? true : undefined,
    )

    const {
      key,
      key_id: keyId,
      pool_id: poolId,
    } = await json<Made>(b, 'api-key-create', '--name', 'home page', '--quota', '100')
    assert.match(key, new RegExp(`^mesh_sk_${keyId}_[0-9a-f]{64}$`))
    const question = [
      'inference',
      '--prompt',
      'Once upon a time',
      '--seed',
      '7',
      '--max-tokens',
      '16',
      '--control-plane',
      url,
    ]
    const keyFile = join(root, 'key.txt')
    writeFileSync(keyFile, `${key}\n`, { mode: 0o600 })
    const byFlag = await mesh([...question, '--api-key-file', keyFile], { home: guest })
    assert.equal(
      await mesh([...question, '--pool-id', poolId.slice(0, 8)], { home: guest, env: { MESH_API_KEY: key } }),
      byFlag,
    )
    assert.equal(await mesh(question, { home: a }), byFlag) // the same text for a member
    assert.ok(!existsSync(openHome(guest).deviceKey))

    // as curl would: submit, then read the stream of events
    const sent = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const submission = {
      modelId: 'tiny-story',
      prompt: 'Once upon a time',
      maxTokens: 16,
      stop: [],
      idempotencyKey: 'plain-http',
      sampling: { temperature: 0.7, topK: 0, topP: 0.9, minP: 0, repetitionPenalty: 1, seed: 7 },
    }
    const submitted = (await (
      await fetch(`${url}/api/pools/${poolId}/jobs`, {
        method: 'POST',
        headers: sent,
        body: JSON.stringify(submission),
      })
    ).json()) as Job
    const events = await fetch(`${url}/api/pools/${poolId}/jobs/${submitted.jobId}/events`, {
      headers: { authorization: `Bearer ${key}` },
    })
    const data = [...(await events.text()).matchAll(/^data: (.*)$/gm)].map(
      ([, text]) => JSON.parse(text) as { type: string; text?: string },
    )
    assert.equal(
      `${data
        .filter(({ type }) => type === 'tokens')
        .map(({ text }) => text)
        .join('')}\n`,
      byFlag,
    )
    assert.equal(data.at(-1)?.type, 'end')

    const [listed] = await json<Record<string, unknown>[]>(b, 'api-key-list')
    assert.deepEqual(
      [listed.key_id, listed.name, listed.device_name, listed.used_today, listed.reserved],
      [keyId, 'home page', 'Laptop', 3 * 21, 0],
    )
    assert.match(
      await mesh(['api-key-list'], { home: b }),
      new RegExp(`${keyId}  home page  Laptop \\(this device\\) +\\d+ s ago +\\d+ s ago +63 of 100 +valid for 90 d`),
    )
    // on the command line it works too, with a warning
    const { code: full, stderr } = await runMesh([...question, '--api-key', key, '--max-tokens', '60'], { home: guest })
    const [warning, problem] = stderr.split('\n')
    assert.match(
      warning,
      /^warning: every user of this machine can see what --api-key is given .* --api-key-file <file>, or the variable MESH_API_KEY$/,
    )
    assert.deepEqual(
      [full, problem.replace(keyId, 'ID')],
      [7, 'error: API key ID may use 100 tokens a day: 37 are left, the job may need 66'],
    )

    await eventually(20_000, 'all jobs are settled', async () =>
      (await json<Printed<CreditsView>>(b, 'credits')).unsettled === 0 ? true : undefined,
    )
    const { jobs, unsigned } = await json<{ jobs: number; unsigned: { name: string; work: number; use: number }[] }>(
      b,
      'ledger',
      'verify',
    )
    assert.deepEqual([jobs, ...unsigned.map(({ name, work, use }) => [name, work, use])], [4, ['Laptop', 0, 3]])
    assert.match(
      await mesh(['ledger', 'verify'], { home: b }),
      /^the ledger .* holds: 4 jobs, .*\nnot signed:\n- Laptop \([0-9a-f]{8}\): 3 of use\nuse: an app with an API key asked.*\nthey are checked like the others/,
    )
    const { members } = await json<Printed<CreditsView>>(b, 'credits')
    const [desktop, laptop] = ['Desktop', 'Laptop'].map(
      (name) => members.find((member) => member.name === name)?.used ?? 0,
    )
    assert.ok(laptop === 3 * desktop && desktop > 0)

    // the program that people copy
    const spare = await json<Made>(a, 'api-key-create', '--name', 'an example')
    const example = (env: Readonly<Record<string, string | undefined>>): Promise<RunResult> =>
      runProgram(
        process.execPath,
        [fileURLToPath(new URL('../examples/ask.mjs', import.meta.url)), 'Once upon a time'],
        { home: guest, env: { MESH_URL: url, ...env } },
      )
    const shown = await example({ MESH_API_KEY: spare.key })
    assert.deepEqual([shown.code, shown.stderr], [0, ''])
    assert.match(shown.stdout, /\w+ \w+.*\n$/)
    assert.match((await example({ MESH_API_KEY: `${spare.key.slice(0, -1)}x` })).stderr, /^error: .*key.*\n$/)

    assert.match(await mesh(['api-key-revoke', keyId], { home: a }), /^revoked home page/)
    const refused = await runMesh([...question, '--api-key-file', keyFile], { home: guest })
    assert.deepEqual([refused.code, refused.stderr.split('\n')[0]], [7, `error: API key ${keyId} was revoked`])
    const mistyped = await runMesh([...question, '--api-key', key.slice(1)], { home: guest })
    assert.deepEqual([mistyped.code, mistyped.stderr.includes(key.slice(-64))], [7, false])
    assert.ok(
      control.tail().some((line) => line.includes('API key revoked')) &&
        !control.tail().some((line) => line.includes(key.slice(-64))),
    )
  },
)
