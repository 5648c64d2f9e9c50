/** Services without a terminal: `-d` comes back when they are ready, `mesh down` ends them and nothing else. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { startProcess } from '../agent/cli/managed-process.ts'
import { findService } from '../agent/cli/service-record.ts'
import { type Home, openHome } from '../shared/home.ts'
import { isProcessAlive } from '../shared/process-alive.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { readProc } from './support/leftovers.ts'
import { eventually, mesh, runMesh, within } from './support/processes.ts'

interface Device {
  readonly root: string
  readonly home: Home
  run(...args: string[]): ReturnType<typeof runMesh>
}

/** A device whose control plane is away: its agent runs and waits. */
const deviceIn = async (t: TestContext): Promise<Device> => {
  const root = join(temporaryFolder(t), 'home')
  const run: Device['run'] = (...args) => runMesh(args, { home: root, timeoutMs: 240_000 })
  await mesh(['init', '--network-id', 'home', '--name', 'Desktop', '--control-plane', 'http://127.0.0.1:9'], {
    home: root,
  })
  afterwards(t, () => run('down'))
  return { root, home: openHome(root), run }
}

const local = ['--listen', '/ip4/127.0.0.1/tcp/0', '--discovery', 'none', '--threads', '1']

const takenPort = (t: TestContext): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
    t.after(() => server.close())
  })

describe('in the background', () => {
  it(
    'start -d comes back when it is ready; it may be repeated; status, logs and down know it',
    { timeout: 300_000 },
    async (t) => {
      const { home, run } = await deviceIn(t)
      const first = await run('start', '-d', ...local)
      assert.equal(first.code, 0, first.stderr)
      assert.match(
        first.stdout,
        /^agent of Desktop \([0-9a-f]{8}\) runs in the background; mesh down ends it, mesh logs shows what it does\n {2}\/ip4\/127\.0\.0\.1\/tcp\//,
      )
      const pid = findService(home)?.pid ?? 0
      assert.ok(isProcessAlive(pid))
      if (process.platform === 'linux')
        assert.equal(
          readProc(pid, 'stat')
            .replace(/^.*\) /s, '')
            .split(' ')[3],
          String(pid),
          'a session of its own: no terminal can end it',
        )

      const second = await run('start', '-d', ...local)
      assert.deepEqual(
        [second.code, second.stdout, second.stderr],
        [0, first.stdout, `runs already: mesh start in the background, process ${pid}\n`],
      )
      const foreground = await run('start', ...local)
      assert.equal(foreground.code, 3)
      assert.match(
        foreground.stderr,
        new RegExp(`^error: an agent for .* is already running \\(process ${pid}\\)\\nhint: .*mesh down`),
      )
      assert.equal((await run('up', '-d')).code, 3)

      const { service } = JSON.parse((await run('status', '--json')).stdout) as { service: unknown }
      assert.deepEqual(
        { ...(service as object), started_at: 0 },
        { pid, command: 'start', background: true, started_at: 0 },
      )
      assert.match(
        (await run('status')).stdout,
        new RegExp(`^runs +mesh start in the background, process ${pid}, since .*; mesh down ends it$`, 'm'),
      )
      const lines = await eventually(15_000, 'it logs that its control plane is away', async () => {
        const { lines: found } = JSON.parse((await run('logs', 'agent', '--json')).stdout) as {
          lines: { part: string; level: string; message: string }[]
        }
        return found.some(({ level, message }) => level === 'warn' && message.includes('127.0.0.1:9'))
          ? found
          : undefined
      })
      assert.ok(lines.every(({ part }) => part === 'agent'))
      const piped = (await run('logs', '-n', '5')).stdout.trim().split('\n')
      assert.ok(piped.length > 0 && piped.length <= 5 && piped.every((line) => typeof JSON.parse(line) === 'object'))

      const down = await run('down')
      assert.match(
        down.stdout,
        new RegExp(`^stopped mesh start in the background, process ${pid}, after [\\d.]+ m?s\\n$`),
      )
      assert.ok(!isProcessAlive(pid))
      assert.deepEqual([await run('down')].map(({ code, stdout }) => [code, stdout])[0], [
        0,
        `nothing runs from ${home.root}\n`,
      ])
    },
  )

  it(
    'what does not come up says why, as it would in a terminal, and leaves no process',
    { timeout: 300_000 },
    async (t) => {
      const { root, home, run } = await deviceIn(t)
      const port = await takenPort(t)
      const listen = ['start', '--listen', `/ip4/127.0.0.1/tcp/${port}`, '--json']
      const [background, foreground] = [await run(...listen, '-d'), await run(...listen)]
      assert.equal(background.code, 3)
      assert.equal(background.stdout, foreground.stdout)
      assert.match(background.stderr, new RegExp(`^error: port ${port} is in use\\nhint: `))
      assert.equal(findService(home), undefined)
      assert.match(readFileSync(join(home.logs, 'agent.log'), 'utf8'), /is in use/)
      const nobody = await runMesh(['start', '-d'], { home: join(root, 'empty') })
      assert.deepEqual([nobody.code, nobody.stderr.startsWith('error: no device is set up')], [3, true])
    },
  )

  it(
    'after it was killed outright, the next one starts; down never ends a process that took its id',
    { timeout: 300_000 },
    async (t) => {
      const { home, run } = await deviceIn(t)
      assert.equal((await run('start', '-d', ...local)).code, 0)
      const { pid, mark } = findService(home) ?? {}
      assert.ok(pid !== undefined)
      process.kill(pid, 'SIGKILL')
      await eventually(10_000, 'it is gone', () => (isProcessAlive(pid) ? undefined : true))
      assert.match((await run('status')).stdout, /^agent +not running: mesh start -d$/m)
      // another program has that id now: ours
      const record = JSON.parse(readFileSync(home.service, 'utf8')) as object
      writeFileSync(home.service, JSON.stringify({ ...record, pid: process.pid }))
      if (mark !== undefined) assert.match((await run('down')).stdout, /^nothing runs from/)
      assert.equal((await run('start', '-d', ...local)).code, 0)
      assert.notEqual(findService(home)?.pid, pid)
    },
  )

  it('mesh down ends what runs in another terminal as well', { timeout: 300_000 }, async (t) => {
    const { home, root, run } = await deviceIn(t)
    const terminal = startProcess({
      name: 'terminal',
      program: 'mesh',
      args: ['start', '--json', ...local],
      home: root,
    })
    afterwards(t, () => terminal.stop())
    await within(30_000, 'it is ready', terminal.ready)
    assert.equal(findService(home)?.background, false)
    assert.match((await run('down', '--json')).stdout, /"stopped": true/)
    assert.equal((await within(5000, 'it ended', terminal.ended)).code, 0)
  })

  it('interrupted before it is ready, nothing stays', { timeout: 300_000 }, async (t) => {
    const { home, root } = await deviceIn(t)
    const waiting = startProcess({ name: 'start -d', program: 'mesh', args: ['start', '-d', ...local], home: root })
    afterwards(t, () => waiting.stop())
    await eventually(30_000, 'the process in the background begins', () => findService(home))
    waiting.signal('SIGINT')
    const { code } = await within(20_000, 'it ends', waiting.ended)
    if (code !== 0) assert.equal(code, 130)
    if (code !== 0)
      await eventually(20_000, 'and the other one too', () => (findService(home) === undefined ? true : undefined))
  })
})

/** A `systemctl` that does what systemd does with our file: starts its command with its environment, and ends it. */
const systemctl = `#!/bin/sh
unit=$HOME/.config/systemd/user/$(eval echo \\\${$#})
echo "$*" >>"$HOME/calls"
case "$*" in
  *enable*) (eval "$(sed -n 's/^Environment="\\([A-Z_]*\\)=\\(.*\\)"$/export \\1="\\2"/p' "$unit")"; eval "exec $(sed -n 's/^ExecStart=//p' "$unit")") </dev/null >/dev/null 2>&1 & echo $! >"$HOME/pid" ;;
  *disable*) kill "$(cat "$HOME/pid")" ;;
esac
`

describe('as a service', { skip: process.platform === 'linux' ? false : 'systemd is a matter of Linux' }, () => {
  it(
    'install starts it and says so, remove ends it; where systemd is missing, the reason and what to run',
    { timeout: 300_000 },
    async (t) => {
      const { root, home } = await deviceIn(t)
      const [folder, tools] = [join(root, '..', 'user'), join(root, '..', 'tools')]
      mkdirSync(folder)
      mkdirSync(tools)
      const run = (path: string, ...args: string[]): ReturnType<typeof runMesh> =>
        runMesh(args, { home: root, timeoutMs: 240_000, env: { HOME: folder, PATH: path, XDG_CONFIG_HOME: undefined } })
      const name = (await run(tools, 'service', 'install', '--print')).stdout
      assert.match(
        name,
        /^\[Unit\]\nDescription=Mesh \(mesh start\) of .*\n[\s\S]*^ExecStart=".*background\/main\.ts" "start"$/m,
      )
      assert.ok(!existsSync(join(folder, '.config')), '--print changes nothing')

      const missing = await run(tools, 'service-install', ...local)
      assert.equal(missing.code, 3)
      assert.match(
        missing.stderr,
        /^error: systemd could not be told: systemctl --user daemon-reload: systemctl is not on this machine\nhint: where that works, run: systemctl --user daemon-reload && systemctl --user enable --now meshnet-[0-9a-f]{8}\.service \(the file is /,
      )
      assert.match(
        (await run(tools, 'service', 'remove')).stderr,
        /^error: systemd could not be told: systemctl --user disable/,
      )

      writeFileSync(join(tools, 'systemctl'), systemctl, { mode: 0o755 })
      const path = `${tools}:/usr/bin:/bin`
      const wrong = await run(path, 'service-install', 'start', '--relay-port', '1')
      assert.deepEqual(
        [wrong.code, wrong.stderr.split('\n')[0]],
        [2, 'error: --relay-port is no option of mesh start, which the service runs'],
      )
      const installed = await run(path, 'service', 'install', ...local)
      assert.equal(installed.code, 0, installed.stderr)
      const service = findService(home)
      assert.equal(service?.background, true)
      assert.match(
        installed.stdout,
        new RegExp(
          `^service +${folder}/.config/systemd/user/meshnet-[0-9a-f]{8}\\.service\\nruns +mesh start ` +
            `--listen=\\S+ --discovery=none --threads=1, process ${service.pid}\\n`,
        ),
      )
      assert.equal((await run(path, 'service-install')).code, 3, 'it runs already')

      const removed = await run(path, 'service', 'remove')
      assert.match(removed.stdout, /^stopped and removed /)
      await eventually(20_000, 'it is gone', () => (isProcessAlive(service.pid) ? undefined : true))
      assert.match((await run(path, 'service-remove')).stdout, /^no service is installed for /)
      assert.deepEqual(
        readFileSync(join(folder, 'calls'), 'utf8')
          .trim()
          .split('\n')
          .map((line) => line.split(' ')[1]),
        ['daemon-reload', 'enable', 'disable', 'daemon-reload'],
      )
    },
  )
})
