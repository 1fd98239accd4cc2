/**
 * Codes with which a call stream is reset or stopped (call.md section 5.3). Peers do not have to understand them.
 *
 * | code | name | when |
 * |---|---|---|
 * | 0x10 | Cancelled | the request is not wanted any more |
 * | 0x11 | BadFrame | what came is no frame, or no envelope |
 * | 0x12 | FrameTooLarge | a frame above the limit was announced |
 * | 0x13 | Stalled | a started frame stopped coming |
 */
export const StreamCode = {
  Cancelled: 0x10,
  BadFrame: 0x11,
  FrameTooLarge: 0x12,
  Stalled: 0x13
} as const
