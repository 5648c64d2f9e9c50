/**
 * Addresses of a control plane that somebody else named: which of them this device may connect to at all.
 *
 * A member may be anybody's by now, and what it announces is dialled from inside of this network. So it may name public
 * addresses, and private ones (RFC 1918, RFC 4193, RFC 6598) only where the pool is on such a network itself; never
 * this machine, its link, a group, or a service that clouds offer their machines. A name is resolved first and the
 * address that was judged is the one that is dialled: the answer cannot be another one a moment later.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { asUrlHost, hostIn } from '../../shared/url-host.ts'

export type Reach = 'public' | 'private' | 'never'

/** Outside of the ranges that the library knows: what clouds answer their own machines at. */
const metadata: ReadonlySet<string> = new Set(
  [
    '100.100.100.200', // Alibaba
    '168.63.129.16', // Azure
    'fd00:ec2::254', // Amazon
    'fd00:42::42', // Scaleway
    'fd20:ce::254', // Google
  ].map((address) => ipaddr.parse(address).toNormalizedString()),
)

const privateRanges: ReadonlySet<string> = new Set(['private', 'carrierGradeNat', 'uniqueLocal'])
/** 2000::/3 is all that was ever given out. */
const globalUnicast = ipaddr.parseCIDR('2000::/3')

/** What kind of place an IP address is; an IPv4 address in IPv6 clothes counts as what it is. */
export const reachOf = (address: string): Reach => {
  // the library reads more than the system writes, and `::10.0.0.1`, which nobody was given, as 10.0.0.1
  if (isIP(address) === 0 || (address.includes('.') && address.includes(':') && !/^::ffff:[\d.]+$/i.test(address)))
    return 'never'
  const parsed = ipaddr.process(address)
  if (metadata.has(parsed.toNormalizedString())) return 'never'
  const range = parsed.range()
  if (privateRanges.has(range)) return 'private'
  if (range !== 'unicast') return 'never'
  return parsed.kind() === 'ipv4' || parsed.match(globalUnicast) ? 'public' : 'never'
}

export interface Announced {
  readonly url: string
  /** Private addresses are welcome: the pool is on a private network. */
  readonly privateWelcome: boolean
}

/** All addresses of a name, as the system knows it. @throws Error when it does not */
export type Resolve = (host: string) => Promise<readonly string[]>

export const systemResolve: Resolve = async (host) => (await lookup(host, { all: true })).map(({ address }) => address)

/** Where it may be dialled, as addresses without names; or why not. */
export type Judged = { readonly urls: readonly string[] } | { readonly problem: string }

const longestUrl = 300
/** Addresses of one name that are dialled. */
const mostOfName = 2

/** An URL that names a place and nothing on it; over plain HTTP nobody proves who he is. */
const placeIn = (text: string): URL | undefined => {
  const url = text.length <= longestUrl && URL.canParse(text) ? new URL(text) : undefined
  const isBare =
    url && url.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' && url.password === ''
  return isBare && url.protocol === 'https:' ? url : undefined
}

const at = (url: URL, address: string): string =>
  `https://${asUrlHost(address)}${url.port === '' ? '' : `:${url.port}`}`

/** Judges an address that a member announced. Never throws. */
export const judge = async (
  { url: text, privateWelcome }: Announced,
  resolve: Resolve = systemResolve,
): Promise<Judged> => {
  const url = placeIn(text)
  if (url === undefined) return { problem: 'it is no address of the form https://HOST:PORT' }
  const host = hostIn(text)
  let addresses: readonly string[]
  try {
    addresses = isIP(host) !== 0 ? [host] : await resolve(host)
  } catch {
    return { problem: 'nobody knows that name' }
  }
  // one bad address spoils a name: who answers for it would choose when to show which
  const reaches = new Set(addresses.map(reachOf))
  if (addresses.length === 0 || reaches.has('never'))
    return { problem: 'it leads to this machine, its link or a place that is no control plane' }
  if (reaches.has('private') && !privateWelcome)
    return { problem: 'it leads into a private network, and the pool is on none' }
  return { urls: addresses.slice(0, mostOfName).map((address) => at(url, address)) }
}
