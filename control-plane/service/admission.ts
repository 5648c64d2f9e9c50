/**
 * Who may ask how often. Requests that prove nothing are paid for by the address they come from, and so are those of
 * devices that are known to no pool; a member pays for itself, so that whoever shares its address cannot lock it out.
 */
import { MeshError } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import { type Budget, Budgets } from '../domain/budgets.ts'

export interface AdmissionSettings {
  /** Requests of one address that prove no membership. */
  readonly address: Budget
  /** Requests of one member, or of one API key. */
  readonly member: Budget
  /** Devices of one address that were not known before. */
  readonly newcomers: Budget
}

/** A refusal costs about 0.3 ms and a request of a member 1 ms: nobody gets more than a tenth of one core for long. */
export const defaultAdmission: AdmissionSettings = {
  address: { most: 500, perSecond: 50 },
  member: { most: 1000, perSecond: 100 },
  newcomers: { most: 300, perSecond: 0.5 },
}

/** Members that are remembered; those of later start as strangers that show their certificate. */
const mostMembers = 10_000

export class Admission {
  readonly #addresses: Budgets
  readonly #members: Budgets
  /** Address and id of devices and keys that proved from there that they belong to a pool. */
  readonly #proven = new Set<string>()
  readonly #newcomers: Budgets
  readonly #isOnRecord: (deviceId: string) => boolean
  readonly #now: () => number

  /** @param isOnRecord whether a device is in a pool, as far as we know: asked only where its address has used all */
  constructor(
    { address, member, newcomers }: AdmissionSettings,
    isOnRecord: (deviceId: string) => boolean,
    now: () => number,
  ) {
    this.#addresses = new Budgets(address)
    this.#members = new Budgets(member)
    this.#newcomers = new Budgets(newcomers)
    this.#isOnRecord = isOnRecord
    this.#now = now
  }

  /**
   * Before anything of a request is checked.
   * @param claimed the device that it says it is from
   * @throws MeshError `tooManyRequests`
   */
  admit(address: string, claimed: string): void {
    const sender = this.#sender(address, claimed)
    const waitMs = sender.budgets.waitMs(sender.name, 1, this.#now())
    // a member that we have not met since we started: from now on it pays for what claims to be from it
    if (waitMs > 0 && sender.budgets === this.#addresses && this.#isOnRecord(claimed))
      return this.chargeMember(address, claimed)
    if (waitMs > 0)
      throw new MeshError('tooManyRequests', { sender: sender.what, retryAfterSeconds: Math.ceil(waitMs / 1000) })
  }

  /** A request was refused, or came from a device that no pool knows. */
  charge(address: string, claimed: string, units = 1): void {
    const { budgets, name } = this.#sender(address, claimed)
    budgets.charge(name, units, this.#now())
  }

  /** It came from a member of a pool, or with a valid key. */
  chargeMember(address: string, id: string): void {
    this.noteMember(address, id)
    this.charge(address, id)
  }

  /** It proved that it belongs to a pool. */
  noteMember(address: string, id: string): void {
    const name = `${householdOf(address)} ${id}`
    if (this.#proven.has(name)) return
    if (this.#proven.size >= mostMembers) this.#proven.clear()
    this.#proven.add(name)
  }

  /** A device registers that was not known. @throws MeshError `tooManyRequests` */
  newcomer(address: string): void {
    const household = householdOf(address)
    const waitMs = this.#newcomers.waitMs(household, 1, this.#now())
    if (waitMs > 0)
      throw new MeshError('tooManyRequests', {
        sender: 'new devices at this address',
        retryAfterSeconds: Math.ceil(waitMs / 1000),
      })
    this.#newcomers.charge(household, 1, this.#now())
  }

  #sender(
    address: string,
    claimed: string,
  ): { readonly budgets: Budgets; readonly name: string; readonly what: string } {
    const household = householdOf(address)
    const name = `${household} ${claimed}`
    if (this.#proven.has(name)) return { budgets: this.#members, name, what: 'this device' }
    return { budgets: this.#addresses, name: household, what: 'this address' }
  }
}
