import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { temporaryFolder } from '../../test/support/homes.ts'
import { launchdPlist, type ServiceSpec, systemdUnit, windowsTask } from './service-file.ts'

/** Everything that some file gives a meaning of its own. */
const odd = 'a b "c" \'d\' $HOME ${X} %h \\ & <e>'
const spec: ServiceSpec = {
  name: 'meshnet',
  description: `Mesh of ${odd}`,
  command: [process.execPath, '--flag', '/opt/my mesh/main.ts', 'up', '--name', odd],
  environment: { MESHNET_HOME: '/home/me/my mesh', ODD: odd },
}
const systemSpec = { ...spec, user: 'mesh' }

/** Tags that are opened are closed, in order; and text holds no bare `&` or `<`. @returns the texts by tag */
const readXml = (text: string): { readonly tag: string; readonly text: string }[] => {
  const found: { tag: string; text: string }[] = []
  const open: string[] = []
  const body = text.replace(/^\uFEFF?<\?xml[^>]*\?>\s*/, '').replace(/<!DOCTYPE[^>]*>\s*/, '')
  for (const [, inner, slash, tag, closed] of body.matchAll(/([^<]*)<(\/?)(\w+)[^<>]*?(\/?)>/g)) {
    assert.doesNotMatch(inner, /&(?!(?:amp|lt|gt|quot);)/)
    if (slash) {
      assert.equal(open.pop(), tag)
      found.push({
        tag,
        text: inner.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&'),
      })
    } else if (!closed) open.push(tag)
  }
  assert.deepEqual(open, [])
  return found
}

describe('systemd unit', () => {
  const has = (unit: string, line: string): void => assert.ok(unit.split('\n').includes(line), `${line}\nin\n${unit}`)

  it('quotes what systemd would read otherwise', () => {
    const unit = systemdUnit(spec)
    const oddQuoted = 'a b \\"c\\" \'d\' $HOME ${X} %%h \\\\ & <e>'
    has(
      unit,
      `ExecStart="${process.execPath}" "--flag" "/opt/my mesh/main.ts" "up" "--name" ` +
        `"${oddQuoted.replaceAll('$', '$$$$')}"`,
    )
    has(unit, 'Environment="MESHNET_HOME=/home/me/my mesh"')
    has(unit, `Environment="ODD=${oddQuoted}"`)
    assert.equal(
      unit.split('\n').length,
      systemdUnit({ ...spec, command: [process.execPath, 'two\nlines'] }).split('\n').length,
    )
  })

  it('starts with the login, or with the machine as a user; again after a failure, not after mesh down', () => {
    has(systemdUnit(spec), 'WantedBy=default.target')
    assert.doesNotMatch(systemdUnit(spec), /^User=/m)
    for (const line of ['WantedBy=multi-user.target', 'User=mesh', 'Restart=on-failure'])
      has(systemdUnit(systemSpec), line)
  })

  const verifier = spawnSync('systemd-analyze', ['--version']).status === 0
  it('is what systemd itself accepts', { skip: verifier ? false : 'systemd-analyze is not here' }, (t) => {
    for (const [name, unit] of [
      ['user', systemdUnit(spec)],
      ['system', systemdUnit({ ...spec, user: 'root' })],
    ] as const) {
      const file = join(temporaryFolder(t), `meshnet-${name}.service`)
      writeFileSync(file, unit)
      const { stdout, stderr } = spawnSync(
        'systemd-analyze',
        ['verify', '--recursive-errors=no', ...(name === 'user' ? ['--user'] : []), file],
        { encoding: 'utf8', env: { ...spawnEnvironment, XDG_RUNTIME_DIR: join(file, '..') } },
      )
      assert.deepEqual(
        `${stdout}${stderr}`.split('\n').filter((line) => line.includes('meshnet')),
        [],
      )
    }
  })
})

/** Nothing of the session that the tests run in. */
const spawnEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }

describe('launchd property list', () => {
  it('is XML that holds program, arguments and environment as they are', () => {
    const strings = readXml(launchdPlist(spec))
      .filter(({ tag }) => tag === 'string')
      .map(({ text }) => text)
    assert.deepEqual(strings, ['meshnet', ...spec.command, ...Object.values(spec.environment), 'Interactive'])
    const keys = (text: string): string[] =>
      readXml(text)
        .filter(({ tag }) => tag === 'key')
        .map(({ text: key }) => key)
    assert.deepEqual(
      keys(launchdPlist(systemSpec)).filter((key) => !keys(launchdPlist(spec)).includes(key)),
      ['UserName'],
    )
    assert.match(launchdPlist(spec), /<key>KeepAlive<\/key>\s*<dict>\s*<key>SuccessfulExit<\/key>\s*<false\/>/)
  })
})

describe('Windows task', () => {
  const scriptOf = (task: string): string => {
    const argument = readXml(task).find(({ tag }) => tag === 'Arguments')?.text ?? ''
    return Buffer.from(/-EncodedCommand (\S+)$/.exec(argument)?.[1] ?? '', 'base64').toString('utf16le')
  }

  it('sets the environment and starts the program with its arguments, whatever they hold', () => {
    const script = scriptOf(
      windowsTask({
        ...spec,
        command: [
          'C:\\Program Files\\node.exe',
          'C:\\my mesh\\main.ts',
          'up',
          '--name',
          'it\'s "me"',
          'C:\\ends with\\',
        ],
      }),
    )
    assert.equal(
      script,
      [
        "$env:MESHNET_HOME = '/home/me/my mesh'",
        `$env:ODD = '${odd.replaceAll("'", "''")}'`,
        String.raw`$p = Start-Process -Wait -PassThru -WindowStyle Hidden -FilePath 'C:\Program Files\node.exe' -ArgumentList '"C:\my mesh\main.ts" up --name "it''s \"me\"" "C:\ends with\\"'`,
        'exit $p.ExitCode',
      ].join('; '),
    )
  })

  it('goes on without a charger and for as long as it takes, and shows no window', () => {
    const settings = Object.fromEntries(readXml(windowsTask(spec)).map(({ tag, text }) => [tag, text]))
    assert.deepEqual(
      [
        settings.DisallowStartIfOnBatteries,
        settings.StopIfGoingOnBatteries,
        settings.ExecutionTimeLimit,
        settings.Hidden,
      ],
      ['false', 'false', 'PT0S', 'true'],
    )
  })

  it('starts with the login, or with the machine as a user', () => {
    assert.match(windowsTask(spec), /<LogonTrigger>.*InteractiveToken/s)
    assert.match(windowsTask({ ...spec, user: 'a&b' }), /<BootTrigger>.*<UserId>a&amp;b<\/UserId><LogonType>S4U/s)
  })
})
