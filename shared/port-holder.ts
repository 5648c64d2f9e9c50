/** Which program listens on a port of this machine, as far as the system tells: Linux, and what this user may see. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

const stateListening = '0A'

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // gone meanwhile, or somebody else's
  }
}

/** Sockets that listen there, by the numbers that `/proc/<pid>/fd` shows. */
const listenersAt = (port: number): ReadonlySet<string> => {
  const lines = ['tcp', 'tcp6'].flatMap((name) => read(`/proc/net/${name}`).split('\n').slice(1))
  const found = lines.map((line) => line.trim().split(/\s+/)).filter(([, local, , state]) => state === stateListening && parseInt(local.split(':')[1], 16) === port)
  return new Set(found.map((fields) => `socket:[${fields[9]}]`))
}

const linksOf = (pid: string): string[] => {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((name) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${name}`)
      } catch {
        return ''
      }
    })
  } catch {
    return []
  }
}

/** Programs of Mesh by their entry file. Of others the name alone: their arguments are nobody's business. */
const ours = [[/\bcontrol-plane\/main\.ts$/, 'a Mesh control plane'], [/\brelay-server\/main\.ts$/, 'a Mesh relay'], [/\bagent\/main\.ts$/, 'a Mesh agent']] as const

const programOf = (pid: string): string => {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`))
  } catch {
    return 'a program'
  }
}

const nameOf = (pid: string): string => {
  const command = read(`/proc/${pid}/cmdline`).split('\0')
  return ours.find(([file]) => command.some((part) => file.test(part)))?.[1] ?? programOf(pid)
}

/** `nginx (process 77)`; `undefined` where the system does not tell. */
export const portHolder = (port: number): string | undefined => {
  try {
    const listeners = listenersAt(port)
    if (listeners.size === 0) return undefined
    const pid = readdirSync('/proc').find((name) => /^\d+$/.test(name) && linksOf(name).some((link) => listeners.has(link)))
    return pid === undefined ? undefined : `${nameOf(pid)} (process ${pid})`
  } catch {
    return undefined // no Linux
  }
}
