/** The certificate that programs are told to trust, taken from the control plane whose key this device knows. */
import { X509Certificate } from 'node:crypto'
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import { type Home, readState, writeState } from '../../shared/home.ts'
import { controlPlaneIdIn } from '../../shared/identity/control-plane-key.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'

/** What it says is worth something where the key that this device knows has signed it itself, however it came here. */
const isOf = (pem: string, key: ControlPlaneId): boolean => {
  try {
    const certificate = new X509Certificate(pem)
    return certificate.ca && controlPlaneIdIn(certificate) === key && certificate.verify(certificate.publicKey)
  } catch {
    return false
  }
}

/**
 * Keeps the certificate in the home of the device.
 * @returns its file, or `undefined` where the control plane speaks no TLS
 * @throws MeshError `controlPlaneProtocol` (a certificate of another key) | `stateUnwritable` | those of the client
 */
export const keepCertificate = async (home: Home, client: Client): Promise<string | undefined> => {
  const key = await client.controlPlane()
  const { certificate } = await client.call('controlPlane', {})
  if (certificate === undefined) return undefined
  if (!isOf(certificate, key))
    throw new MeshError('controlPlaneProtocol', { problem: 'it gives a certificate of another key than its own' })
  if (readState(home.trusted)?.toString('utf8') !== certificate) writeState(home.trusted, certificate)
  return home.trusted
}
