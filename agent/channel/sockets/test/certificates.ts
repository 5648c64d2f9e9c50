/** Certificates of ranks, for tests; sockets do without libp2p, but only its package makes certificates. */
import { makeLinkCertificate } from '../../../network/socket-tls.ts'
import type { LinkCertificate } from '../tls-sockets.ts'

/** Made once: keys cost time. */
const made: Promise<LinkCertificate>[] = []

export const certificateOf = (rank: number): Promise<LinkCertificate> =>
  (made[rank] ??= makeLinkCertificate() as Promise<LinkCertificate>)
