import { readFile } from 'node:fs/promises'
import { hasEnded, type Job } from '../../src/qrexec/calls/orders.ts'

/** The management VM's API, as anyone with its token sees it. */
export class ApiClient {
  readonly address: string
  readonly #token: string

  private constructor(address: string, token: string) {
    this.address = address
    this.#token = token
  }

  static async open(hostFile: string): Promise<ApiClient> {
    const { api, tokenFile } = JSON.parse(await readFile(hostFile, 'utf8')) as {
      api: string
      tokenFile: string
    }
    return new ApiClient(api, (await readFile(tokenFile, 'utf8')).trim())
  }

  async request<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(`${this.address}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    const text = await response.text()
    if (!response.ok) throw new ApiFailure(response.status, text)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }

  order(body: object): Promise<Job> {
    return this.request<Job>('POST', '/v1/orders', body)
  }

  job(id: string): Promise<Job> {
    return this.request<Job>('GET', `/v1/jobs/${id}`)
  }

  /** Waits for the end of a job; `onChange` sees every state on the way. */
  async ended(id: string, onChange: (job: Job) => void = () => {}): Promise<Job> {
    for (;;) {
      const job = await this.job(id)
      onChange(job)
      if (hasEnded(job)) return job
      await new Promise(resolve => setTimeout(resolve, 250))
    }
  }

  /** Orders, waits, and throws unless the job ends as `done`. */
  async done(body: object, onChange?: (job: Job) => void): Promise<Job> {
    const ordered = await this.order(body)
    const job = await this.ended(ordered.id, onChange)
    if (job.state !== 'done')
      throw new Error(`the ${job.kind} ended as ${job.state}: ${job.error?.code} ${job.error?.message}`)
    return job
  }
}

export class ApiFailure extends Error {
  readonly status: number
  readonly problem: { code?: string; detail?: string }

  constructor(status: number, text: string) {
    super(`HTTP ${status}: ${text.slice(0, 300)}`)
    this.status = status
    try {
      this.problem = JSON.parse(text) as { code?: string; detail?: string }
    } catch {
      this.problem = {}
    }
  }
}
