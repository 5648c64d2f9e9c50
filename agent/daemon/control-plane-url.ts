/** Addresses of a control plane on this machine, seen from here and from others. */
import { isIP } from 'node:net'
import { hostIn } from '../../shared/url-host.ts'
import { isLoopbackUrl, secureUrl } from '../../shared/control-plane-url.ts'

/**
 * Where a relay that the control plane names is, seen from a device that reaches the control plane at `url`. One that
 * listens everywhere is on the same machine; `undefined` where that is this one, which needs no relay to reach itself.
 */
export const relayAt = (relay: string, url: string): string | undefined => {
  const rest = /^\/ip[46]\/(?:0\.0\.0\.0|::)(\/.*)$/.exec(relay)?.[1]
  if (rest === undefined) return relay
  if (isLoopbackUrl(url)) return undefined
  const host = hostIn(url)
  return `/${isIP(host) === 4 ? 'ip4' : isIP(host) === 6 ? 'ip6' : 'dns'}/${host}${rest}`
}

/** The same address with another host, as that is spoken to; without a trailing slash. */
export const urlFor = (url: string, host: string): string => {
  const other = new URL(url)
  other.hostname = host
  return secureUrl(other.toString().replace(/\/+$/, ''))
}
