/** Addresses of a control plane: plain HTTP is for those of the own machine, TLS for all others. */
import { isLoopback } from './loopback.ts'
import { hostIn } from './url-host.ts'

/** Where nobody but this machine listens. */
export const isLoopbackUrl = (url: string): boolean => {
  const host = hostIn(url)
  return host === 'localhost' || isLoopback(host)
}

/**
 * The address as devices use it: what older versions wrote down for other machines is spoken to by TLS, at the same
 * port.
 */
export const secureUrl = (url: string): string => {
  if (!URL.canParse(url) || new URL(url).protocol !== 'http:' || isLoopbackUrl(url)) return url
  const { port } = new URL(url)
  const secure = url.replace(/^http:/i, 'https:')
  return port === '' ? secure.replace(/^(https:\/\/[^/?#]+)/i, '$1:80') : secure
}

export const isTlsUrl = (url: string): boolean => URL.canParse(url) && new URL(url).protocol === 'https:'
