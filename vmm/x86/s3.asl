/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest can sleep: --machine s3=on. */
DefinitionBlock ("s3.aml", "SSDT", 2, "STASIS", "S3", 1)
{
	/* ACPI 6.5, 7.4.2.4: SLP_TYPa and SLP_TYPb; PM_SLP_TYP_S3. */
	Name (\_S3, Package () { 1, 1, 0, 0 })
}
