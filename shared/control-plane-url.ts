/** Addresses of a control plane: plain HTTP is for those of the own machine, TLS for all others. */

/** Where nobody but this machine listens. */
export const isLoopbackUrl = (url: string): boolean => {
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname) // and no name that begins so
}

/** The address as devices use it: what older versions wrote down for other machines is spoken to by TLS, at the same port. */
export const secureUrl = (url: string): string => {
  if (!URL.canParse(url) || new URL(url).protocol !== 'http:' || isLoopbackUrl(url)) return url
  const { port } = new URL(url)
  const secure = url.replace(/^http:/i, 'https:')
  return port === '' ? secure.replace(/^(https:\/\/[^/?#]+)/i, '$1:80') : secure
}

export const isTlsUrl = (url: string): boolean => URL.canParse(url) && new URL(url).protocol === 'https:'
