/** Who takes part, by duty. Which VM has which role is in the sealed configuration, never in code. */
export type Role = 'dom0' | 'hsm' | 'management' | 'storage' | 'sandbox' | 'monitor'
