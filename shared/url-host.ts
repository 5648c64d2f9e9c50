/** Hosts as URLs write them, and as sockets want them: an IPv6 address has brackets in an URL only. */

/** The host of an URL as `node:net` wants it. */
export const hostIn = (url: string): string => new URL(url).hostname.replace(/^\[|\]$/g, '')

/** An address or a name as the host of an URL. */
export const asUrlHost = (address: string): string => (address.includes(':') ? `[${address}]` : address)
