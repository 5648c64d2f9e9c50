/** Joining a pool between real processes: by invite, and by hand. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, type RunResult, startReady } from './support/processes.ts'

interface Club {
  readonly admin: string
  /** A set-up device in a home of its own. */
  device(name: string): Promise<string>
}

/** A control plane, and a pool whose maker's agent runs. */
const createClub = async (t: TestContext): Promise<Club> => {
  const root = temporaryFolder(t)
  const { info } = await startReady(t, { name: 'control plane', program: 'mesh', args: ['control-plane', '--port', '0', '--json'], home: join(root, 'services') })
  const device = async (name: string): Promise<string> => {
    const home = join(root, name)
    await mesh(['init', '--network-id', 'home', '--name', name, '--control-plane', String(info.url)], { home })
    return home
  }
  const admin = await device('Admin')
  await mesh(['pool-create', '--name', 'club'], { home: admin })
  await startReady(t, { name: 'admin', program: 'mesh', args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0'], home: admin })
  return { admin, device }
}

const refused = ({ code, stderr }: RunResult, error: RegExp): void => {
  assert.match(stderr, error)
  assert.equal(code, 7)
}

const invited = (home: string, line: string): Promise<RunResult> => runMesh(['pool-join', '--invite', line, '--wait', '10s'], { home })

describe('membership', () => {
  it('an invite lets in as many devices as it says; one used up, expired or damaged lets in nobody', { timeout: 60_000 }, async (t) => {
    const { admin, device } = await createClub(t)
    const [first, second] = [await device('First'), await device('Second')]
    const line = (await mesh(['pool-invite'], { home: admin })).trim()
    // both at once: one of them gets it
    const results = await Promise.all([invited(first, line), invited(second, line)])
    const codes = results.map(({ code }) => code)
    assert.deepEqual(codes.toSorted(), [0, 7], results.map(({ stderr }) => stderr).join('\n'))
    refused(results[codes.indexOf(7)], /^error: the invite was used already \(1 times at most\)$/m)
    const [winner, loser] = codes[0] === 0 ? [first, second] : [second, first]
    assert.equal((await invited(winner, line)).code, 0, 'whoever has it may repeat the command')
    refused(await invited(loser, `${line.slice(0, 84)}${line[84] === 'A' ? 'B' : 'A'}${line.slice(85)}`), /^error: the invite is not valid/m)

    const short = (await mesh(['pool-invite', '--expires', '1s'], { home: admin })).trim()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    refused(await invited(loser, short), /^error: the invite expired at /m)

    const peers = JSON.parse(await mesh(['pool-peers', '--json'], { home: admin })) as { name: string }[]
    assert.equal(peers.length, 2)
    refused(await runMesh(['pool-invite'], { home: winner }), /^error: only an admin of pool/m)
  })

  it('without an invite a person decides, and nobody else', { timeout: 60_000 }, async (t) => {
    const { admin, device } = await createClub(t)
    const [first, second] = [await device('First'), await device('Second')]
    const [pool] = JSON.parse(await mesh(['pool-list', '--json'], { home: admin })) as { pool_id: string; root_public_key: string }[]
    const ask = (home: string, wait: string): Promise<RunResult> => runMesh(['pool-join', '--pool-id', pool.pool_id, '--pool-root-pubkey', pool.root_public_key, '--wait', wait], { home })
    const late = await ask(first, '1s')
    assert.equal(late.code, 4)
    assert.match(late.stderr, /no admin of pool .* answered within 1 s/)

    const requests = async (count: number): Promise<string[]> => eventually(10_000, `${count} requests`, async () => {
      const all = JSON.parse(await mesh(['pool-requests', '--json'], { home: admin })) as { device_id: string }[]
      return all.length === count ? all.map(({ device_id }) => device_id) : undefined
    })
    const waiting = Promise.all([ask(first, '20s'), ask(second, '20s')])
    const [one] = await requests(1).catch(() => requests(2)) // the first asked before; the second comes any moment
    await requests(2)
    await mesh(['pool-approve', '--device', one.slice(0, 8), '--role', 'admin'], { home: admin })
    const [other] = await requests(1)
    await mesh(['pool-deny', '--device', other], { home: admin })
    const [welcome, denied] = await waiting
    assert.equal(welcome.code, 0, welcome.stderr)
    assert.match(welcome.stdout, /role +admin/)
    refused(denied, /^error: an admin of pool .* denied the request$/m)

    // an admin that the maker named decides as well, but names no admins
    const again = ask(second, '20s')
    await requests(1)
    refused(await runMesh(['pool-approve', '--device', other, '--role', 'admin'], { home: first }), /^error: only an admin of pool/m)
    await mesh(['pool-approve', '--device', other], { home: first })
    assert.equal((await again).code, 0)
    refused(await runMesh(['pool-requests'], { home: second }), /^error: only an admin of pool/m)
    assert.match(await mesh(['pool-peers'], { home: second }), /First .*\n.*Second|Second .*\n.*First/)
  })
})
