/** What this machine is called by others: for the certificate that browsers and apps look at. */
import { hostname, networkInterfaces } from 'node:os'
import { isIP } from 'node:net'

/** Addresses and names under which the control plane may be met; `host` is where it listens. */
export const hostNames = (host: string): string[] => {
  const addresses = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map(({ address }) => address.split('%')[0]),
  )
  const name = hostname().toLowerCase()
  const isName = /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(name) && isIP(name) === 0
  const given = ['0.0.0.0', '::'].includes(host) ? [] : [host]
  return [
    'localhost',
    '127.0.0.1',
    '::1',
    ...addresses,
    ...(isName ? [name, `${name.split('.')[0]}.local`] : []),
    ...given,
  ]
}
