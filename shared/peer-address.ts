/** Parts of the addresses of libp2p, as text: `/ip4/192.168.1.5/tcp/4001/p2p/<peer id>`. */

/** `192.168.1.5` of `/ip4/192.168.1.5/tcp/4001`; empty when it names no IP address. */
export const ipOf = (address: string): string => /^\/ip[46]\/([^/]+)/.exec(address)?.[1] ?? ''

/** It leads over a relay. @param address as text or not: `connection.remoteAddr` */
export const isRelayed = (address: { toString(): string }): boolean => /\/p2p-circuit(?:\/|$)/.test(address.toString())

/** The address without a trailing peer id. */
export const withoutPeerId = (address: string): string => address.replace(/\/p2p\/[^/]+$/, '')
