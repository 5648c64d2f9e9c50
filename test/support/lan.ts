/** Machines on a network of their own: Linux network namespaces joined by a bridge. Needs root and the command `ip`. */
import { spawnSync } from 'node:child_process'
import { afterwards } from './homes.ts'

type Context = Parameters<typeof afterwards>[0]

const ip = (...args: string[]): void => {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${error?.message ?? stderr}`)
}

/** Why there can be none here; `false` where there can. For the option `skip` of a test. */
export const lanImpossible = (): string | false => {
  if (process.platform !== 'linux') return 'network namespaces are a matter of Linux'
  if (process.getuid?.() !== 0) return 'network namespaces need root: sudo npm test -- test/lan.test.ts'
  return spawnSync('ip', ['-V']).status === 0 ? false : 'the command ip is missing'
}

export interface Machine {
  /** Starts a program on it; for the option `through`. */
  readonly through: readonly string[]
  /** Takes another address, as after a change of network. */
  moveTo(address: string): void
}

let count = 0

/** One machine for each address (with prefix length, `10.77.0.1/24`), on one switch; gone after the test. */
export const createLan = (t: Context, addresses: readonly string[]): Machine[] => {
  const prefix = `mesh-${process.pid}-${++count}`
  const made: string[] = []
  const namespace = (name: string): string => {
    const full = `${prefix}-${name}`
    ip('netns', 'add', full)
    made.push(full)
    ip('-n', full, 'link', 'set', 'lo', 'up')
    return full
  }
  afterwards(t, () => made.forEach((name) => ip('netns', 'del', name)))
  const bridge = namespace('switch')
  ip('-n', bridge, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', bridge, 'link', 'set', 'br0', 'up')
  return addresses.map((first, index) => {
    const name = namespace(String(index))
    ip('link', 'add', `port${index}`, 'netns', bridge, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    ip('-n', bridge, 'link', 'set', `port${index}`, 'master', 'br0', 'up')
    const moveTo = (address: string): void => {
      ip('-n', name, 'address', 'flush', 'dev', 'eth0')
      ip('-n', name, 'address', 'add', address, 'dev', 'eth0')
      ip('-n', name, 'link', 'set', 'eth0', 'up')
      // without a default route, multicast needs one of its own
      ip('-n', name, 'route', 'replace', '224.0.0.0/4', 'dev', 'eth0')
    }
    moveTo(first)
    return { through: ['ip', 'netns', 'exec', name], moveTo }
  })
}
