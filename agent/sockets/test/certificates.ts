/** Certificates of ranks, for tests. */
// oxlint-disable-next-line no-restricted-imports -- sockets do without libp2p, but only libp2p's package makes certificates
import { makeLinkCertificate } from '../../network/socket-tls.ts'
import type { LinkCertificate } from '../tls-sockets.ts'

/** Made once: keys cost time. */
const made: Promise<LinkCertificate>[] = []

export const certificateOf = (rank: number): Promise<LinkCertificate> => (made[rank] ??= makeLinkCertificate() as Promise<LinkCertificate>)
