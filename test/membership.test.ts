/** Membership between real processes: joining by invite and by hand, removal, renewal. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { ManagedProcess } from '../agent/cli/managed-process.ts'
import { temporaryFolder } from './support/homes.ts'
import { findPool, savePool } from '../agent/device/pools.ts'
import { findDevice } from '../agent/device/device.ts'
import { PeerCache } from '../agent/device/known-peers.ts'
import { openHome } from '../shared/home.ts'
import { certificateLifetimeMs, issueCertificate, verifyCertificate } from '../shared/identity/pool-certificate.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { eventually, mesh, meshHere, type RunResult, startPrompt, startReady } from './support/processes.ts'

interface Club {
  readonly admin: string
  readonly controlPlane: ManagedProcess
  /** A set-up device in a home of its own. */
  device(name: string): Promise<string>
  /** Starts the agent of a device. */
  start(home: string): Promise<ManagedProcess>
}

/** A control plane, and a pool whose maker's agent runs. */
const createClub = async (t: TestContext): Promise<Club> => {
  const root = temporaryFolder(t)
  const { info, process: controlPlane } = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', '0', '--json'],
    home: join(root, 'services'),
  })
  const device = async (name: string): Promise<string> => {
    const home = join(root, name)
    await mesh(['init', '--network-id', 'home', '--name', name, '--control-plane', String(info.url)], { home })
    return home
  }
  const admin = await device('Admin')
  await mesh(['pool-create', '--name', 'club'], { home: admin })
  const start = async (home: string): Promise<ManagedProcess> =>
    (
      await startReady(t, {
        name: home,
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1'],
        home,
      })
    ).process
  await start(admin)
  return { admin, controlPlane, device, start }
}

/** A command that may fail. */
const attempt = (args: readonly string[], { home }: { readonly home: string }): Promise<RunResult> =>
  meshHere(args, home)

const refused = ({ code, stderr }: RunResult, error: RegExp): void => {
  assert.match(stderr, error)
  assert.equal(code, 7)
}

const invited = (home: string, line: string): Promise<RunResult> =>
  attempt(['pool-join', '--invite', line, '--wait', '10s'], { home })

/** One club for all of it; the last one leaves it without a control plane. */
test('membership', { timeout: 900_000 }, async (t) => {
  const { admin, controlPlane, device, start } = await createClub(t)

  await t.test(
    'an invite lets in as many devices as it says; one used up, expired or damaged lets in nobody',
    async () => {
      const [first, second] = [await device('First'), await device('Second')]
      const line = (await mesh(['pool-invite'], { home: admin })).trim()
      // both at once: one of them gets it
      const results = await Promise.all([invited(first, line), invited(second, line)])
      const codes = results.map(({ code }) => code)
      assert.deepEqual(codes.toSorted(), [0, 7], results.map(({ stderr }) => stderr).join('\n'))
      refused(results[codes.indexOf(7)], /^error: the invite was used already \(1 times at most\)$/m)
      // who was told of no control plane takes that of the invite only once it is let in; mesh join leaves nothing else
      // behind
      const unset = join(admin, '..', 'Unset')
      await mesh(['init', '--network-id', 'home', '--name', 'Unset'], { home: unset })
      const before = readFileSync(openHome(unset).config, 'utf8')
      for (const result of [
        await invited(unset, line),
        await attempt(['join', line, '--name', 'Other', '--yes', '-d'], { home: unset }),
      ]) {
        refused(result, /^error: the invite was used already/m)
        assert.equal(readFileSync(openHome(unset).config, 'utf8'), before)
      }
      const [winner, loser] = codes[0] === 0 ? [first, second] : [second, first]
      assert.equal((await invited(winner, line)).code, 0, 'whoever has it may repeat the command')
      refused(
        await invited(loser, `${line.slice(0, 84)}${line[84] === 'A' ? 'B' : 'A'}${line.slice(85)}`),
        /^error: the invite is not valid/m,
      )

      const short = (await mesh(['pool-invite', '--expires', '1s'], { home: admin })).trim()
      await new Promise((resolve) => setTimeout(resolve, 1500))
      refused(await invited(loser, short), /^error: the invite expired at /m)

      const peers = JSON.parse(await mesh(['pool-peers', '--json'], { home: admin })) as { name: string }[]
      assert.equal(peers.length, 2)
      refused(await attempt(['pool-invite'], { home: winner }), /^error: only an admin of pool/m)
    },
  )

  await t.test('without an invite a person decides, and nobody else', async () => {
    const [first, second] = [await device('Asks first'), await device('Asks second')]
    const [pool] = JSON.parse(await mesh(['pool-list', '--json'], { home: admin })) as {
      pool_id: string
      root_public_key: string
    }[]
    const ask = (home: string, wait: string): Promise<RunResult> =>
      attempt(['pool-join', '--pool-id', pool.pool_id, '--pool-root-pubkey', pool.root_public_key, '--wait', wait], {
        home,
      })
    const late = await ask(first, '1s')
    assert.equal(late.code, 4)
    assert.match(late.stderr, /no admin of pool .* answered within 1 s/)

    const requests = (...names: string[]): Promise<Map<string, string>> =>
      eventually(10_000, `requests of ${names.join()}`, async () => {
        const all = JSON.parse(await mesh(['pool-requests', '--json'], { home: admin })) as {
          device_id: string
          name: string
        }[]
        const ids = new Map(all.map(({ name, device_id }) => [name, device_id]))
        return ids.size === names.length && names.every((name) => ids.has(name)) ? ids : undefined
      })
    const waiting = Promise.all([ask(first, '20s'), ask(second, '20s')])
    const ids = await requests('Asks first', 'Asks second')
    const [one, other] = [ids.get('Asks first') ?? '', ids.get('Asks second') ?? '']
    await mesh(['pool-approve', '--device', one.slice(0, 8), '--role', 'admin'], { home: admin })
    await requests('Asks second')
    await mesh(['pool-deny', '--device', other], { home: admin })
    const [welcome, denied] = await waiting
    assert.equal(welcome.code, 0, welcome.stderr)
    assert.match(welcome.stdout, /role +admin/)
    refused(denied, /^error: an admin of pool .* denied the request$/m)

    // an admin that the maker named decides as well, but names no admins
    const again = ask(second, '20s')
    await requests('Asks second')
    refused(
      await attempt(['pool-approve', '--device', other, '--role', 'admin'], { home: first }),
      /^error: only an admin of pool/m,
    )
    await mesh(['pool-approve', '--device', other], { home: first })
    assert.equal((await again).code, 0)
    refused(await attempt(['pool-requests'], { home: second }), /^error: only an admin of pool/m)
    assert.match(
      await mesh(['pool-peers'], { home: second }),
      /Asks first (?:.*\n)+.*Asks second|Asks second (?:.*\n)+.*Asks first/,
    )
  })

  await t.test(
    'a removed device loses its connections in the middle of a job, the others run the next one',
    async () => {
      const [lost, stays] = [await device('Lost'), await device('Stays')]
      const line = (await mesh(['pool-invite', '--uses', '2'], { home: admin })).trim()
      for (const home of [lost, stays]) {
        await mesh(['pool-join', '--invite', line], { home })
        await start(home)
        await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
      }
      await mesh(['join-ring', '--model-id', 'tiny-story'], { home: admin })
      const activeWith = (count: number): Promise<Printed<RingView>> =>
        eventually(40_000, `the ring is active with ${count}`, async () => {
          const [ring] = JSON.parse(await mesh(['ring-status', '--json'], { home: admin })) as Printed<RingView>[]
          return ring?.status === 'active' && ring.world_size === count ? ring : undefined
        })
      await activeWith(3)
      const lostId = String(findDevice(openHome(lost))?.deviceId)
      const { begun, result: job } = startPrompt(
        ['inference', '--prompt', 'Once upon a time', '--max-tokens', '450', '--seed', '3'],
        { home: admin, timeoutMs: 240_000 },
      )
      await begun
      await mesh(['pool-remove', '--device', lostId.slice(0, 8)], { home: admin })
      const result = await job
      assert.equal(result.code, 6)
      assert.match(result.stderr, /^error: Lost was removed from the pool while the job ran$/m)

      await activeWith(2)
      assert.match(
        await mesh(['inference', '--prompt', 'Once upon a time', '--max-tokens', '8'], { home: stays }),
        /\w/,
      )
      refused(await attempt(['pool-peers'], { home: lost }), /^error: device [0-9a-f]{8} was removed from pool/m)
      refused(await attempt(['pool-join', '--invite', line, '--wait', '5s'], { home: lost }), /was removed from pool/)
      for (const home of [admin, stays, lost])
        await eventually(
          5000,
          'the list is kept on every device',
          async () =>
            (JSON.parse(await mesh(['pool-list', '--json'], { home })) as { removed: number }[])[0].removed === 1 ||
            undefined,
        )

      // an admin may let it in again, by hand
      const [pool] = JSON.parse(await mesh(['pool-list', '--json'], { home: admin })) as {
        pool_id: string
        root_public_key: string
      }[]
      const again = attempt(
        ['pool-join', '--pool-id', pool.pool_id, '--pool-root-pubkey', pool.root_public_key, '--wait', '20s'],
        { home: lost },
      )
      await eventually(
        10_000,
        'it asks',
        async () => (await attempt(['pool-approve', '--device', lostId], { home: admin })).code === 0 || undefined,
      )
      assert.equal((await again).code, 0)
      await mesh(['pool-peers'], { home: lost })
    },
  )

  await t.test('a certificate is renewed by itself, also one that ended while the device was off', async () => {
    const line = (await mesh(['pool-invite', '--uses', '2'], { home: admin })).trim()
    const rootKey = (poolId: string): NonNullable<ReturnType<typeof findPool>>['rootKey'] =>
      findPool(openHome(admin), poolId)?.rootKey
    for (const [name, ageMs] of [
      ['Half over', 0.6 * certificateLifetimeMs],
      ['Over', 2 * certificateLifetimeMs],
    ] as const) {
      const path = await device(name)
      await mesh(['pool-join', '--invite', line], { home: path })
      const home = openHome(path)
      const [{ pool_id: poolId }] = JSON.parse(await mesh(['pool-list', '--json'], { home: path })) as {
        pool_id: string
      }[]
      const [pool, self, root] = [findPool(home, poolId), findDevice(home), rootKey(poolId)]
      assert.ok(pool && self && root)
      savePool(home, {
        ...pool,
        certificate: issueCertificate(root, { deviceId: self.deviceId, role: 'member' }, Date.now() - ageMs),
      })
      await start(path)
      await eventually(15_000, `${name}: renewed`, () => {
        try {
          return (
            verifyCertificate(findPool(home, poolId)?.certificate ?? '', root.publicKey, Date.now()).notAfter >
              Date.now() + 0.9 * certificateLifetimeMs || undefined
          )
        } catch {
          return undefined
        }
      })
    }
  })

  await t.test(
    'the root key leaves its device only encrypted, and makes another device an owner of the pool',
    async () => {
      const heir = await device('Heir')
      const [file, phrase, wrong] = ['pool.key', 'phrase', 'wrong'].map((name) => join(admin, name))
      writeFileSync(phrase, 'a long enough phrase\n')
      writeFileSync(wrong, 'another phrase\n')
      const exported = await attempt(['pool-export-key', '--file', file, '--passphrase-file', phrase], { home: admin })
      assert.equal(exported.code, 0, exported.stderr)
      const [pool] = JSON.parse(await mesh(['pool-list', '--json'], { home: admin })) as { pool_id: string }[]
      const rootKey = readFileSync(openHome(admin).pool(pool.pool_id).rootKey, 'utf8').trim()
      assert.ok(
        ![exported.stdout, exported.stderr, readFileSync(file, 'latin1')].some((text) => text.includes(rootKey)),
      )
      assert.equal(statSync(file).mode & 0o777, 0o600)
      refused(
        await attempt(['pool-import-key', '--file', file, '--passphrase-file', wrong], { home: heir }),
        /^error: the passphrase is wrong/m,
      )
      await mesh(['pool-import-key', '--file', file, '--passphrase-file', phrase], { home: heir })
      const peers = JSON.parse(await mesh(['pool-peers', '--json'], { home: heir })) as { name: string; role: string }[]
      const admins = peers.filter(({ role }) => role === 'admin').map(({ name }) => name)
      assert.deepEqual(admins.toSorted(), ['Admin', 'Asks first', 'Heir'])
      await mesh(['pool-invite', '--role', 'admin'], { home: heir })
    },
  )

  await t.test('an admin that is connected renews a certificate while no control plane is there', async () => {
    const path = await device('Member')
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: admin })).trim()], { home: path })
    const [home, agent] = [openHome(path), await start(path)]
    const [{ pool_id: poolId }] = JSON.parse(await mesh(['pool-list', '--json'], { home: path })) as {
      pool_id: string
    }[]
    await eventually(15_000, 'it knows the admin', () =>
      new PeerCache(home).peersOf(poolId).some(({ worked }) => worked.length > 0) ? true : undefined,
    )
    await agent.stop()
    await controlPlane.stop()
    const [pool, self, root] = [findPool(home, poolId), findDevice(home), findPool(openHome(admin), poolId)?.rootKey]
    assert.ok(pool && self && root)
    savePool(home, {
      ...pool,
      certificate: issueCertificate(
        root,
        { deviceId: self.deviceId, role: 'member' },
        Date.now() - 0.6 * certificateLifetimeMs,
      ),
    })
    await start(path)
    await eventually(
      15_000,
      'renewed',
      () =>
        verifyCertificate(findPool(home, poolId)?.certificate ?? '', root.publicKey, Date.now()).notAfter >
          Date.now() + 0.9 * certificateLifetimeMs || undefined,
    )
  })
})
