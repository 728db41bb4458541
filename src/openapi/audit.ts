import { AuditQuery } from "../http/request/params.ts"
import { AuditPage } from "../store/audit/records.ts"
import { TRANSACTION_ID } from "./examples.ts"
import { answer, operation } from "./operation.ts"

const PAGE: AuditPage = {
  part: "signals",
  checked: 1000,
  absent: 0,
  mismatch_count: 0,
  mismatches: [],
  next_cursor: "signals:1000",
}

export const getAudit = operation({
  id: "getAudit",
  tag: "Audit",
  summary: "Compare a page of signals, batches or dedupe keys with the others",
  description:
    "Each page is one statement, so that writes meanwhile make no mismatch. Follow `next_cursor` to the end of all three. A mismatch is an error of the service or a change by hand; nothing is repaired.",
  scope: "admin",
  params: { query: AuditQuery },
  answers: {
    200: answer("One page.", AuditPage, {
      "no mismatch": PAGE,
      "a lost batch": {
        ...PAGE,
        mismatch_count: 1,
        mismatches: [{ kind: "signal_without_batch", transaction_id: TRANSACTION_ID, signal_id: 12 }],
      },
    }),
  },
  unreadable: {
    cursor: [
      {
        type: "value_error",
        loc: ["query", "cursor"],
        msg: "Value error, this is not a cursor of an audit",
        input: "latest",
      },
    ],
  },
})
