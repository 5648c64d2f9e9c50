/** The tables of `mesh bench --collectives`, for people. */
import type { BandwidthFigure, CollectivesReport, LatencyFigure } from '../shared/schema/bench.ts'
import { show } from './spread.ts'

/** Rows of text in columns; the first row is the head. */
const table = (rows: readonly (readonly string[])[]): string => {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const nameOf = ({ algorithm, chosen }: LatencyFigure | BandwidthFigure): string =>
  chosen ? `${algorithm} *` : algorithm

const gigabytes = (bytesPerSecond: number): string => (bytesPerSecond / 1e9).toFixed(3)

export const printCollectives = ({ latency, bandwidth }: CollectivesReport): string =>
  [
    'all-reduce, milliseconds (* what auto takes)',
    table([
      ['workers', 'KiB', 'algorithm', 'ms', 'raw TCP exchange', 'ratio'],
      ...latency.map((one) => [
        String(one.workers),
        String(one.bytes / 1024),
        nameOf(one),
        one.ms.median.toFixed(3),
        one.rawExchangeMs.median.toFixed(3),
        show(one.ratio, 2),
      ]),
    ]),
    '',
    'bus bandwidth, GB/s',
    table([
      ['workers', 'MiB', 'algorithm', 'GB/s', 'one raw stream', 'ratio', 'all ranks stream', 'ratio'],
      ...bandwidth.map((one) => [
        String(one.workers),
        String(one.bytes / 2 ** 20),
        nameOf(one),
        gigabytes(one.busBandwidth.median),
        gigabytes(one.rawStream.median),
        show(one.ratio, 2),
        gigabytes(one.rawStreams.median),
        show(one.ratioToStreams, 2),
      ]),
    ]),
  ].join('\n')
