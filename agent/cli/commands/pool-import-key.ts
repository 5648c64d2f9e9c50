import { Type } from 'typebox'
import { importKey } from '../../../shared/identity/key-export.ts'
import { toHex } from '../../../shared/identity/keys.ts'
import { readCharter } from '../../../shared/identity/pool-charter.ts'
import { issueCertificate, poolIdOf } from '../../../shared/identity/pool-certificate.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { publishPool } from '../../device/control-plane.ts'
import { type LocalPool, savePool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { readGivenFile } from '../given-file.ts'
import { readPassphrase } from '../passphrase.ts'
import { fields } from '../render.ts'
import { checkName, ifReachable, openSession } from '../session.ts'

export const poolImportKey = defineCommand({
  name: 'pool-import-key',
  summary: 'take over a pool on this device, from the file of mesh pool-export-key',
  details: 'This device becomes an admin that holds the root key, as the maker of the pool does.',
  options: ['file', 'passphraseFile', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['file'],
  examples: ['mesh pool-import-key --file home-pool.key'],
  json: Type.Object({ poolId: Hex64, name: Name, role: Role, published: Type.Boolean() }),
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const text = readGivenFile(values.file, '--file')
    const { key, name } = importKey(text, await readPassphrase(context, values.passphraseFile, { twice: false }))
    const pool: LocalPool = {
      poolId: poolIdOf(key.publicKey),
      name: checkName('the name of the pool', name),
      rootPublicKey: toHex(key.publicKey),
      role: 'admin',
      rootKey: key,
      certificate: issueCertificate(key, { deviceId: device.deviceId, role: 'admin' }, context.now()),
    }
    savePool(context.home, pool)
    const result = await ifReachable(publishPool(client, device, pool))
    // of what the pool was made to be only its members know: the file holds the key alone
    const charter = 'answer' in result ? result.answer.charter : undefined
    if (charter !== undefined) readCharter(charter, key.publicKey)
    if (charter !== undefined) savePool(context.home, { ...pool, charter })
    if (values.json) return context.printJson({ ...pool, published: 'answer' in result })
    context.stdout.write(
      fields(
        [
          ['pool', pool.name],
          ['pool id', pool.poolId],
          ['role', 'admin, with the root key'],
        ],
        context.stdout.columns,
      ),
    )
    if ('problem' in result)
      context.stderr.write(`${result.problem.message}\nthe pool is kept here and published by: mesh start\n`)
  },
})
