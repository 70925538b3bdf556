-- One row is a customer; each change of the file adds a version.
select
    customer_id,
    customer_name,
    customer_email,
    customer_phone,
    customer_address,
    registration_date
from file
