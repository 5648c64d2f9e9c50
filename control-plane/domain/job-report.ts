/**
 * Why a job failed, as rank 0 tells it: it may say what a rank can know of a job, and name the members as they are
 * called.
 */
import { MeshError } from '../../shared/errors.ts'
import { reportedBy } from '../../shared/peer-report.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'

/** By rank. */
type Members = readonly { readonly name: string }[]

/** What may be wrong with a prompt, or happened to the job: rank 0 says so of nobody else. */
const ofTheJob: readonly string[] = [
  'promptTooLong',
  'promptTooLarge',
  'promptEmpty',
  'tokenOutsideVocabulary',
  'chatTemplateMissing',
  'parameterInvalid',
  'modelConfigInvalid',
  'jobCancelled',
  'epochStale',
  'sealStale',
  'sealBroken',
]
/** What it may say of a rank. */
const ofRanks: readonly string[] = [
  'peerLost',
  'collectiveTimeout',
  'rankFailed',
  'peerInvalid',
  'peerFailed',
  'relayLost',
]

/**
 * The failure as its submitter is told: code, exit code and hint are among those that a job can end with; anything else
 * is quoted as the failure of rank 0.
 */
export const leaderReport = (members: Members, report: ErrorReportJson): ErrorReportJson => {
  if (ofTheJob.includes(report.code)) return report
  const rank = report.fields?.rank
  const named = typeof rank === 'number' ? members[rank] : undefined
  if (ofRanks.includes(report.code) && named) {
    const { device: _, ...fields } = report.fields ?? {}
    return MeshError.fromReport({
      ...report,
      fields: { ...fields, peer: named.name, ...(report.code === 'relayLost' ? { device: members[0].name } : {}) },
    }).toReport()
  }
  return reportedBy(
    { rank: 0, name: members[0]?.name ?? 'rank 0' },
    { code: 'rankFailed', message: report.message },
  ).toReport()
}
