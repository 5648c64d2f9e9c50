import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { type Machine, planService, runAll } from './service-manager.ts'

const spec = { name: 'meshnet', description: 'Mesh', command: ['/n', 'start'], environment: {} } as const
const machine: Machine = {
  platform: 'linux',
  homeFolder: '/home/me',
  configFolder: undefined,
  meshHome: '/home/me/.meshnet',
  uid: 501,
}
const words = (lines: readonly (readonly string[])[]): string[] => lines.map((line) => line.join(' '))

describe('service plan', () => {
  it('systemd: of the user, wherever the settings are, and of the machine', () => {
    const user = planService(spec, machine)
    assert.equal(user.file, '/home/me/.config/systemd/user/meshnet.service')
    assert.deepEqual(words(user.install), [
      'systemctl --user daemon-reload',
      'systemctl --user enable --now meshnet.service',
    ])
    assert.deepEqual(words([...user.remove.before, ...user.remove.after]), [
      'systemctl --user disable --now meshnet.service',
      'systemctl --user daemon-reload',
    ])
    assert.match(user.note ?? '', /loginctl enable-linger/)
    assert.equal(planService(spec, { ...machine, configFolder: '/cfg' }).file, '/cfg/systemd/user/meshnet.service')
    const system = planService({ ...spec, user: 'me' }, machine)
    assert.deepEqual(
      [system.file, words(system.install)[1], system.note],
      ['/etc/systemd/system/meshnet.service', 'systemctl enable --now meshnet.service', undefined],
    )
  })

  it('launchd: as an agent of the user and as a daemon', () => {
    const user = planService(spec, { ...machine, platform: 'darwin' })
    assert.equal(user.file, '/home/me/Library/LaunchAgents/org.meshnet.meshnet.plist')
    assert.deepEqual(words([...user.install, ...user.remove.before]), [
      `launchctl bootstrap gui/501 ${user.file}`,
      'launchctl bootout gui/501/org.meshnet.meshnet',
    ])
    assert.match(user.content, /<string>org\.meshnet\.meshnet<\/string>/)
    const system = planService({ ...spec, user: 'me' }, { ...machine, platform: 'darwin' })
    assert.deepEqual(
      [system.file, words(system.install)[0]],
      [
        '/Library/LaunchDaemons/org.meshnet.meshnet.plist',
        'launchctl bootstrap system /Library/LaunchDaemons/org.meshnet.meshnet.plist',
      ],
    )
  })

  it('Windows: a task from a file in UTF-16 with its mark', () => {
    const plan = planService(spec, { ...machine, platform: 'win32' })
    assert.ok(plan.content.startsWith('\uFEFF<?xml'))
    assert.equal(plan.encoding, 'utf16le')
    assert.deepEqual(
      [...words(plan.install), ...words(plan.remove.before)],
      [
        `schtasks /Create /TN meshnet /XML ${plan.file} /F`,
        'schtasks /Run /TN meshnet',
        'schtasks /Delete /TN meshnet /F',
      ],
    )
  })

  it('another system is refused with what works there', () => {
    assert.throws(
      () => planService(spec, { ...machine, platform: 'freebsd' }),
      (error) => error instanceof MeshError && error.code === 'usage' && error.message.includes('mesh up -d'),
    )
  })
})

describe('telling the manager', () => {
  const plan = planService(spec, machine)
  const failing = (...lines: [string, ...string[]][]): MeshError => {
    try {
      runAll(lines, plan)
    } catch (error) {
      if (error instanceof MeshError) return error
    }
    throw new Error('nothing failed')
  }

  it('one that is not there, one that refuses: what was said, and what is left to run', () => {
    const missing = failing(['true'], ['no-such-program-here', '--user', 'a b'], ['true'])
    assert.equal(
      missing.message,
      "systemd could not be told: no-such-program-here --user 'a b': no-such-program-here is not on this machine",
    )
    assert.ok(missing.hint.includes(`run: no-such-program-here --user 'a b' && true (the file is ${plan.file})`))
    assert.match(failing(['sh', '-c', 'echo; echo "Failed to connect" >&2; exit 1']).message, /: Failed to connect$/)
    assert.match(failing(['sh', '-c', 'exit 3']).message, /: exit code 3$/)
  })

  it('all of them when none fails', () => assert.doesNotThrow(() => runAll([['true'], ['true']], plan)))
})
