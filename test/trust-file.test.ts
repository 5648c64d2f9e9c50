/** The file that `mesh api-key-create` keeps for programs: real https with it, as Node and curl do it. */
import assert from 'node:assert/strict'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { pathFromEnvironment } from '../shared/options.ts'
import { temporaryFolder } from './support/homes.ts'
import { mesh, runMesh, runProgram, type RunResult, startReady } from './support/processes.ts'

interface Made {
  readonly key: string
  readonly pool_id: string
  readonly certificate_file: string
}

const startPlane = async (t: TestContext, home: string, name: string): Promise<string> => {
  const args = ['--host', '0.0.0.0', '--port', '0', '--json']
  const { info } = await startReady(t, { name, program: 'controlPlane', args, home: join(home, name) })
  return `http://127.0.0.1:${new URL(String(info.url)).port}`
}

/** What a program of another machine does: it knows the key and the file, and nothing of Mesh. */
const program = `
  const [url, key] = process.argv.slice(1)
  fetch(url, { headers: { authorization: 'Bearer ' + key } }).then(
    async (answer) => console.log(answer.status, await answer.text()),
    (error) => { console.log(error.cause?.code); process.exitCode = 1 },
  )`

const ask = (home: string, url: string, key: string, file?: string): Promise<RunResult> =>
  runProgram(process.execPath, ['-e', program, url, key], { home, env: { NODE_EXTRA_CA_CERTS: file } })

describe('the certificate file of mesh api-key-create', () => {
  it('opens https of its control plane to Node and curl, and that of no other one', async (t) => {
    const root = temporaryFolder(t)
    const home = join(root, 'device')
    const [url, other] = await Promise.all([startPlane(t, root, 'plane'), startPlane(t, root, 'other')])
    await mesh(['init', '--network-id', 'n', '--name', 'laptop', '--control-plane', url], { home })
    await mesh(['pool-create', '--name', 'home'], { home })
    const made = JSON.parse(await mesh(['api-key-create', '--name', 'app', '--json'], { home })) as Made
    const { key, certificate_file: file } = made
    const path = `/api/pools/${made.pool_id}/rings`
    const https = (base: string): string => base.replace('http:', 'https:') + path

    assert.deepEqual(await ask(home, https(url), key, file), { code: 0, stdout: '200 []\n', stderr: '' })
    assert.deepEqual(
      await ask(home, https(url.replace('127.0.0.1', 'localhost')), key, file),
      { code: 0, stdout: '200 []\n', stderr: '' },
      'under each name that the machine has',
    )
    const bare = await ask(home, https(url), key)
    assert.equal(bare.code, 1)
    assert.match(bare.stdout, /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/, 'without the file nobody vouches for it')
    const wrong = await ask(home, https(other), key, file)
    assert.equal(wrong.code, 1, wrong.stdout)
    assert.match(wrong.stdout, /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERR_)/, 'the file is for one key')

    // the line for curl as it is printed, on another machine with a copy of the file
    const { stdout, stderr } = await runMesh(['api-key-create', '--name', 'second'], { home })
    const line = /^ {2}(curl .+)$/m.exec(stderr)?.[1] ?? assert.fail(stderr)
    const elsewhere = temporaryFolder(t)
    copyFileSync(file, join(elsewhere, file.split('/').at(-1)!))
    const said = await runProgram(
      '/bin/sh',
      ['-c', `cd "$1" && ${line.replace('curl ', 'curl -sS ')}`, 'sh', elsewhere],
      {
        home,
        env: { PATH: pathFromEnvironment(), MESH_API_KEY: stdout.trim() },
      },
    )
    assert.deepEqual(said, { code: 0, stdout: '[]', stderr: '' }, line)
  })
})
