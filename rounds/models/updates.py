"""What arrives: blobs, uploads and their parts, updates, and receipts."""

from __future__ import annotations

import uuid

from django.db import models

from institutions.models import Institution
from rounds.models.rounds import Participation, Round
from rounds.models.runs import Run


class Blob(models.Model):
    """A reference count's anchor: bytes in the store that some row names. Read only through that row."""

    digest = models.CharField(max_length=64, primary_key=True)
    bytes = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)


class Upload(models.Model):
    """A session of numbered parts for one update."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    participation = models.ForeignKey(Participation, on_delete=models.PROTECT, related_name="uploads")
    manifest = models.JSONField()
    update_digest = models.CharField(max_length=64)
    total_bytes = models.PositiveBigIntegerField()
    part_bytes = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["participation", "update_digest"], name="one_session_per_update")
        ]

    @property
    def parts_expected(self) -> int:
        return -(-self.total_bytes // self.part_bytes)


class UploadPart(models.Model):
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "number"], name="one_row_per_part")]


class Update(models.Model):
    """An accepted upload: the bytes, the agent's signed manifest and the portal's signed receipt.

    ``decoded`` is the plain file of ``plain_bytes`` bytes that a codec's bytes stand for; null where they are plain already.
    """

    participation = models.OneToOneField(Participation, on_delete=models.PROTECT, related_name="update")
    into = models.ForeignKey(Round, null=True, on_delete=models.PROTECT, related_name="counted")  # null: waits for a round
    staleness = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT)
    decoded = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="decoded_updates")
    bytes = models.PositiveBigIntegerField()
    plain_bytes = models.PositiveBigIntegerField(default=0)
    rows = models.PositiveBigIntegerField()
    norm = models.FloatField(null=True)  # null: masked, so nobody but the bank knows
    steps = models.PositiveBigIntegerField()
    train_loss = models.FloatField(null=True)
    base_loss = models.FloatField(null=True)
    training_s = models.FloatField()
    weight = models.FloatField(null=True)
    cosine = models.FloatField(null=True)
    manifest = models.JSONField()
    manifest_digest = models.CharField(max_length=64)
    received_at = models.DateTimeField()


class Receipt(models.Model):
    """The portal's signed word to a bank about one statement of its agent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="receipts")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="receipts")
    subject = models.CharField(max_length=20)
    document_digest = models.CharField(max_length=64)
    signed = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(fields=["institution", "document_digest"], name="same_statement_same_receipt")
        ]
