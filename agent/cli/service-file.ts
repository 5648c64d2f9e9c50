/**
 * Files by which operating systems start Mesh by themselves: a systemd unit, a launchd property list, a Windows task.
 */

export interface ServiceSpec {
  /** Of the service: letters, digits and hyphens. */
  readonly name: string
  readonly description: string
  /** Program and arguments, absolute where it is a path. */
  readonly command: readonly [file: string, ...args: string[]]
  readonly environment: Readonly<Record<string, string>>
  /** Who runs it, where it is started with the machine; absent: with the login of its owner. */
  readonly user?: string
}

/** Seconds that stopping in order may take: all parts of `mesh up`, one after the other. */
const stopSeconds = 60
/** Seconds before it is started again after a failure. */
const againSeconds = 5

const quoted = (text: string): string =>
  `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n').replaceAll('%', '%%')}"`

/**
 * systemd, for `~/.config/systemd/user` or `/etc/systemd/system`. Ended by `mesh down` it stays down until the next
 * start.
 */
export const systemdUnit = ({ description, command, environment, user }: ServiceSpec): string => `[Unit]
Description=${description.replaceAll('%', '%%')}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=${command.map((part) => quoted(part).replaceAll('$', '$$$$')).join(' ')}
${Object.entries(environment)
  .map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}\n`)
  .join('')}${user === undefined ? '' : `User=${user}\nNoNewPrivileges=yes\n`}Restart=on-failure
RestartSec=${againSeconds}
KillMode=mixed
TimeoutStopSec=${stopSeconds}
LimitNOFILE=65536

[Install]
WantedBy=${user === undefined ? 'default.target' : 'multi-user.target'}
`

const xml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

/** launchd, for `~/Library/LaunchAgents` or `/Library/LaunchDaemons`. */
export const launchdPlist = ({ name, command, environment, user }: ServiceSpec): string => {
  const text = (value: string): string => `<string>${xml(value)}</string>`
  const entry = (key: string, value: string): string => `  <key>${key}</key>\n  ${value}\n`
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
${[
  entry('Label', text(name)),
  entry('ProgramArguments', `<array>\n${command.map((part) => `    ${text(part)}\n`).join('')}  </array>`),
  entry(
    'EnvironmentVariables',
    `<dict>\n${Object.entries(environment)
      .map(([key, value]) => `    <key>${xml(key)}</key>\n    ${text(value)}\n`)
      .join('')}  </dict>`,
  ),
  user === undefined ? '' : entry('UserName', text(user)),
  entry('RunAtLoad', '<true/>'),
  entry('KeepAlive', '<dict>\n    <key>SuccessfulExit</key>\n    <false/>\n  </dict>'),
  entry('ThrottleInterval', `<integer>${againSeconds}</integer>`),
  entry('ExitTimeOut', `<integer>${stopSeconds}</integer>`),
  entry('ProcessType', text('Interactive')), // else the system slows it down
].join('')}</dict>
</plist>
`
}

/** One argument as the C runtime of Windows reads it. */
const windowsArgument = (text: string): string =>
  /^[^\s"]+$/.test(text) ? text : `"${text.replaceAll(/(\\*)"/g, String.raw`$1$1\"`).replaceAll(/(\\+)$/g, '$1$1')}"`

/** Task Scheduler. It has no environment of its own: PowerShell sets it, in a window that nobody sees. */
export const windowsTask = ({ description, command, environment, user }: ServiceSpec): string => {
  const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`
  const variables = Object.entries(environment).map(([key, value]) => `$env:${key} = ${literal(value)}`)
  const [file, ...args] = command
  const start =
    `$p = Start-Process -Wait -PassThru -WindowStyle Hidden -FilePath ${literal(file)} -ArgumentList ` +
    `${literal(args.map(windowsArgument).join(' '))}; exit $p.ExitCode`
  const script = [...variables, start].join('; ')
  // PowerShell takes a whole script in base64: no quotes of two languages inside each other
  const encoded = Buffer.from(script, 'utf16le').toString('base64')
  const trigger =
    user === undefined
      ? '<LogonTrigger><Enabled>true</Enabled></LogonTrigger>'
      : '<BootTrigger><Enabled>true</Enabled></BootTrigger>'
  const principal =
    user === undefined
      ? '<LogonType>InteractiveToken</LogonType>'
      : `<UserId>${xml(user)}</UserId><LogonType>S4U</LogonType>`
  return `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>${xml(description)}</Description></RegistrationInfo>
  <Triggers>${trigger}</Triggers>
  <Principals><Principal id="Author">${principal}<RunLevel>LeastPrivilege</RunLevel></Principal></Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>255</Count></RestartOnFailure>
    <Hidden>true</Hidden>
  </Settings>
  <Actions Context="Author"><Exec><Command>powershell.exe</Command><Arguments>-NoProfile -NonInteractive -WindowStyle Hidden -EncodedCommand ${encoded}</Arguments></Exec></Actions>
</Task>
`
}
