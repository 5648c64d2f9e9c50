/** Which program listens on a port of this machine, as far as the system tells: Linux, and what this user may see. */
import { readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { namesIn, textOf } from './lenient-files.ts'

const stateListening = '0A'

/** Nothing where it is gone meanwhile, or somebody else's. */
const read = (file: string): string => textOf(file) ?? ''

/** Sockets that listen there, by the numbers that `/proc/<pid>/fd` shows. */
const listenersAt = (port: number): ReadonlySet<string> => {
  const lines = ['tcp', 'tcp6'].flatMap((name) => read(`/proc/net/${name}`).split('\n').slice(1))
  const found = lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === stateListening && parseInt(local.split(':')[1], 16) === port)
  return new Set(found.map((fields) => `socket:[${fields[9]}]`))
}

const linkAt = (path: string): string => {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed meanwhile
  }
}

const linksOf = (pid: string): string[] => namesIn(`/proc/${pid}/fd`).map((name) => linkAt(`/proc/${pid}/fd/${name}`))

/** Programs of Mesh by their entry file. Of others the name alone: their arguments are nobody's business. */
const ours = [
  [/\bcontrol-plane\/main\.ts$/, 'a Mesh control plane'],
  [/\brelay-server\/main\.ts$/, 'a Mesh relay'],
  [/\bagent\/main\.ts$/, 'a Mesh agent'],
] as const

const programOf = (pid: string): string => basename(linkAt(`/proc/${pid}/exe`)) || 'a program'

const nameOf = (pid: string): string => {
  const command = read(`/proc/${pid}/cmdline`).split('\0')
  return ours.find(([file]) => command.some((part) => file.test(part)))?.[1] ?? programOf(pid)
}

/** `nginx (process 77)`; `undefined` where the system does not tell. */
export const portHolder = (port: number): string | undefined => {
  const listeners = listenersAt(port)
  if (listeners.size === 0) return undefined
  const pid = namesIn('/proc').find((name) => /^\d+$/.test(name) && linksOf(name).some((link) => listeners.has(link)))
  return pid === undefined ? undefined : `${nameOf(pid)} (process ${pid})`
}
