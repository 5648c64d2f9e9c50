/** The tables of SECURITY.md that follow from code: what is read at most, how often may be asked, who may ask what. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type RouteRecord, routes } from '../../shared/api/routes.ts'
import { limits } from '../../shared/limits.ts'
import { defaultAdmission } from '../../control-plane/service/admission.ts'

const bytesText = (bytes: number): string =>
  bytes >= 2 ** 20 ? `${bytes / 2 ** 20} MiB` : bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} bytes`

const valueText = (name: string, value: number): string => {
  if (name.toLowerCase().includes('bytes')) return bytesText(value) + (name.endsWith('PerSecond') ? ' a second' : '')
  if (name.endsWith('Ms')) return value >= 60_000 ? `${value / 60_000} min` : `${value / 1000} s`
  return value.toLocaleString('en')
}

/** Each limit with the comment above it; limits that share a comment share it in the table. */
export const limitTable = (): string => {
  const source = readFileSync(fileURLToPath(new URL('../../shared/limits.ts', import.meta.url)), 'utf8')
  let about = ''
  const rows = source.split('\n').flatMap((line) => {
    about = /^ {2}\/\*\* (.*) \*\/$/.exec(line)?.[1] ?? about
    const name = /^ {2}(\w+): /.exec(line)?.[1]
    return name === undefined
      ? []
      : [`| \`${name}\` | ${valueText(name, limits[name as keyof typeof limits])} | ${about.replaceAll('|', '\\|')} |`]
  })
  return ['| limit | value | of what, and why |', '| --- | --- | --- |', ...rows].join('\n')
}

const senders: Readonly<Record<keyof typeof defaultAdmission, string>> = {
  address: 'one address (a household: an IPv4 address or a /64), for all that proves no membership',
  member: 'one member, or one API key',
  newcomers: 'one address, for devices that were not known before',
}

export const budgetTable = (): string =>
  [
    '| who pays | at once | then |',
    '| --- | --- | --- |',
    ...(Object.entries(defaultAdmission) as [keyof typeof defaultAdmission, { most: number; perSecond: number }][]).map(
      ([name, { most, perSecond }]) =>
        `| ${senders[name]} | ${most} | ${perSecond >= 1 ? `${perSecond} a second` : `one in ${1 / perSecond} s`} |`,
    ),
  ].join('\n')

const whoMay: Readonly<Record<RouteRecord['access'], string>> = {
  open: 'anybody',
  device: 'any device that signs',
  member: 'members',
  admin: 'admins',
  'member-or-key': 'members and apps of the pool',
  key: 'apps',
}

export const routeTable = (): string =>
  [
    '| route | who | body at most |',
    '| --- | --- | --- |',
    ...(Object.values(routes) as RouteRecord[]).map(
      ({ method, path, access, body, bodyBytes }) =>
        `| ${method} ${path} | ${whoMay[access]} | ${body ? bytesText(bodyBytes ?? limits.bodyBytes) : ''} |`,
    ),
  ].join('\n')
