/** Which certificate TLS shows to whom, now: that of the own key, and perhaps one that everybody trusts. */
import { createSecureContext, type SecureContext } from 'node:tls'
import { MeshError } from '../../shared/errors.ts'
import type { ControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { deviceServerName } from '../../shared/identity/control-plane-name.ts'
import type { Logger } from '../../shared/log.ts'
import {
  type Authority,
  isCurrent,
  type Leaf,
  leafNames,
  makeLeaf,
  ownAuthority,
  type TlsIdentity,
} from './certificates.ts'
import { type CertificateFiles, type GivenCertificate, readGivenCertificate, stateOf } from './given-certificate.ts'

export interface TlsIdentitiesOptions {
  readonly key: ControlPlaneKey
  /** File of the authority's certificate. */
  readonly file: string
  /** Names and addresses of this machine, now. */
  names(): readonly string[]
  readonly given?: CertificateFiles
  readonly logger: Logger
  readonly now: () => number
}

const contextOf = (identity: TlsIdentity): SecureContext =>
  createSecureContext({ cert: identity.cert, key: identity.key, minVersion: 'TLSv1.2' })

/** Milliseconds between two looks at addresses and files. */
const lookMs = 60_000

export class TlsIdentities {
  readonly name = 'certificates'
  readonly #options: TlsIdentitiesOptions
  readonly #authority: Authority
  #leaf: Leaf
  #own: SecureContext
  #given: (GivenCertificate & { readonly context: SecureContext }) | undefined
  #timer: NodeJS.Timeout | undefined
  #lastProblem = ''

  private constructor(options: TlsIdentitiesOptions, authority: Authority, leaf: Leaf) {
    this.#options = options
    this.#authority = authority
    this.#leaf = leaf
    this.#own = contextOf(leaf)
    this.#given = this.#readGiven()
  }

  /** @throws MeshError `stateUnreadable` | `stateUnwritable` | `fileUnreadable` */
  static async open(options: TlsIdentitiesOptions): Promise<TlsIdentities> {
    const names = options.names()
    const authority = await ownAuthority(options.file, options.key, names)
    return new TlsIdentities(options, authority, await makeLeaf(options.key, authority, names, options.now()))
  }

  /** Certificate of the authority as PEM: what browsers and apps are told to trust. */
  get authority(): string {
    return this.#authority.pem
  }

  /** From now on looks whether addresses or files changed. */
  start(): void {
    this.#timer = setInterval(() => void this.refresh(), lookMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /**
   * What is shown to a client that asks for that name: an ordinary one that the given certificate bears gets that one,
   * everybody else that of the own key.
   */
  contextFor(serverName: string | undefined): SecureContext {
    if (serverName === undefined || serverName === '' || serverName === deviceServerName || !this.#given)
      return this.#own
    return this.#given.certificate.checkHost(serverName) === undefined ? this.#own : this.#given.context
  }

  /** Never throws: what cannot be made or read now leaves what there is. */
  async refresh(): Promise<void> {
    const { key, names, given, now, logger } = this.#options
    try {
      const wanted = leafNames(names(), this.#authority)
      if (!isCurrent(this.#leaf, wanted, now())) {
        this.#leaf = await makeLeaf(key, this.#authority, wanted, now())
        this.#own = contextOf(this.#leaf)
        logger.info({ names: wanted }, 'the certificate bears other addresses now')
      }
      if (given && stateOf(given) !== this.#given?.state) this.#given = this.#readGiven()
      this.#lastProblem = ''
    } catch (error) {
      const problem = MeshError.from(error).message
      if (problem !== this.#lastProblem) logger.warn({ problem }, `the certificates stay as they are: ${problem}`)
      this.#lastProblem = problem
    }
  }

  #readGiven(): (GivenCertificate & { readonly context: SecureContext }) | undefined {
    const { given } = this.#options
    if (!given) return undefined
    const read = readGivenCertificate(given)
    return { ...read, context: contextOf(read) }
  }
}
