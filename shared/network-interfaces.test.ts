/** What a process knows of its network when it has no file descriptor left. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'

const url = (file: string): string => new URL(file, import.meta.url).href

/** Uses up all descriptors, in a process of its own. */
const program = `
import { closeSync, openSync } from 'node:fs'
import os, { networkInterfaces } from 'node:os'
import { keepInterfaces } from '${url('./network-interfaces.ts')}'
const said = []
const logger = { warn: (_, text) => said.push(text) }
keepInterfaces(logger)
keepInterfaces(logger)
const before = JSON.stringify(os.networkInterfaces())
const open = []
const round = () => {
  try { for (;;) open.push(openSync('/dev/null')) } catch {}
  const same = [os.networkInterfaces(), networkInterfaces(), os.networkInterfaces()].every((found) => JSON.stringify(found) === before)
  open.splice(0).forEach(closeSync)
  return same && JSON.stringify(networkInterfaces()) === before
}
console.log(JSON.stringify({ same: [round(), round()], said }))`

if (process.platform === 'linux') {
  test('interfaces: without descriptors the ones of before, for every caller, and each time said once', () => {
    const answer = JSON.parse(
      execFileSync(
        'bash',
        ['-c', 'ulimit -n 64 && exec "$@"', 'bash', process.execPath, '--input-type=module', '--eval', program],
        { encoding: 'utf8' },
      ),
    ) as { same: boolean[]; said: string[] }
    assert.deepEqual(answer.same, [true, true])
    assert.deepEqual(
      answer.said.map((text) => text.split(':')[0]),
      ['out of file descriptors', 'out of file descriptors'],
    )
  })

  test('Node takes as many descriptors as the system lets it have', () => {
    const limits = execFileSync(
      'bash',
      [
        '-c',
        'ulimit -Sn 64 && exec "$@"',
        'bash',
        process.execPath,
        '--print',
        'fs.readFileSync("/proc/self/limits", "utf8")',
      ],
      { encoding: 'utf8' },
    )
    const [, soft, hard] = /^Max open files +(\d+) +(\d+)/m.exec(limits) ?? []
    assert.ok(Number(soft) > 64 && soft === hard, limits)
  })
}
