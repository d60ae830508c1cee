/* A thread that looks blobs up in a table that another one opened. */
import { parentPort, workerData } from 'node:worker_threads'
import { IndexTableReader } from '../../src/repository/index-table-reader.ts'

const { share, ids } = workerData
const reader = new IndexTableReader(share)
parentPort?.postMessage(ids.map((id: Uint8Array) => reader.find('data', id)))
