/** Everything that is stored, opened once. */
import { CreditStore } from '../store/credit-store.ts'
import type { OpenDatabase } from '../store/database.ts'
import { DeviceStore } from '../store/device-store.ts'
import { FindingStore } from '../store/finding-store.ts'
import { JobQueueStore } from '../store/job-queue-store.ts'
import { JobStore } from '../store/job-store.ts'
import { JobTexts } from '../store/job-texts.ts'
import { KeyStore } from '../store/key-store.ts'
import { LedgerStore } from '../store/ledger-store.ts'
import { LockStore } from '../store/lock-store.ts'
import { PinStore } from '../store/pin-store.ts'
import { PoolStore } from '../store/pool-store.ts'
import { RevocationStore } from '../store/revocation-store.ts'
import { RingStore } from '../store/ring-store.ts'
import { TextStore } from '../store/text-store.ts'
import { TextVault } from '../store/text-vault.ts'

export interface Stores {
  readonly creditStore: CreditStore
  readonly deviceStore: DeviceStore
  readonly findingStore: FindingStore
  readonly jobQueueStore: JobQueueStore
  readonly jobStore: JobStore
  readonly keyStore: KeyStore
  readonly ledgerStore: LedgerStore
  readonly lockStore: LockStore
  readonly pinStore: PinStore
  readonly poolStore: PoolStore
  readonly revocationStore: RevocationStore
  readonly ringStore: RingStore
  readonly textStore: TextStore
}

/** @param textSecret seals the text of jobs */
export const openStores = ({ store }: Pick<OpenDatabase, 'store'>, textSecret: Buffer): Stores => {
  const texts = new JobTexts(new TextVault(textSecret))
  const ledgerStore = new LedgerStore(store)
  return {
    creditStore: new CreditStore(store, ledgerStore),
    deviceStore: new DeviceStore(store),
    findingStore: new FindingStore(store),
    jobQueueStore: new JobQueueStore(store),
    jobStore: new JobStore(store, texts),
    keyStore: new KeyStore(store),
    ledgerStore,
    lockStore: new LockStore(store),
    pinStore: new PinStore(store),
    poolStore: new PoolStore(store),
    revocationStore: new RevocationStore(store),
    ringStore: new RingStore(store),
    textStore: new TextStore(store, texts),
  }
}
