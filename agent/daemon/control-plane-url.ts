/** Addresses of a control plane on this machine, seen from here and from others. */

export const isLoopbackUrl = (url: string): boolean => {
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.')
}

/** The same address with another host; without a trailing slash. */
export const urlFor = (url: string, host: string): string => {
  const other = new URL(url)
  other.hostname = host
  return other.toString().replace(/\/+$/, '')
}
