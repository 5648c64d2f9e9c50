/**
 * `npm run audit`: asks the registry whether something is known against the packages of the lock file. Fails on what is
 * high or critical in what users run; says so where no source of advisories can be reached.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const timeoutMs = 60_000

interface Report {
  readonly message?: string
  readonly error?: { readonly summary?: string }
  readonly vulnerabilities?: Readonly<
    Record<string, { readonly severity: string; readonly range: string; readonly fixAvailable: unknown }>
  >
}

const main = (): number => {
  const { stdout, error } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: root,
    encoding: 'utf8',
    timeout: timeoutMs,
    shell: process.platform === 'win32',
  })
  let report: Report = {}
  try {
    report = JSON.parse(stdout) as Report
  } catch {
    // said below
  }
  if (report.vulnerabilities === undefined) {
    process.stdout.write(
      'audit: skipped, no source of advisories can be reached: ' +
        `${error?.message ?? report.message ?? report.error?.summary ?? 'npm gave no report'}\n`,
    )
    return 0
  }
  const found = Object.entries(report.vulnerabilities)
  for (const [name, { severity, range, fixAvailable }] of found)
    process.stdout.write(`${severity}: ${name} ${range}${fixAvailable ? ' (a newer version mends it)' : ''}\n`)
  process.stdout.write(`audit: ${found.length} packages with known advisories\n`)
  return found.some(([, { severity }]) => severity === 'high' || severity === 'critical') ? 1 : 0
}

process.exitCode = main()
