/** Addresses under which other machines may find the control plane that this one uses. */
import { networkInterfaces } from 'node:os'
import { isLoopbackUrl } from '../../shared/control-plane-url.ts'

/** IPv4 addresses of this machine on its networks; people type and photograph these. */
const ownAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => address),
  )

/** The address itself, or, where that means "this machine", those of this machine first: others cannot use it. */
export const reachableUrls = (url: string, addresses: readonly string[] = ownAddresses()): string[] => {
  const { port } = new URL(url)
  if (!isLoopbackUrl(url)) return [url]
  return [...addresses.slice(0, 3).map((address) => `https://${address}${port === '' ? '' : `:${port}`}`), url]
}
